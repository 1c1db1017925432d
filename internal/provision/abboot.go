package provision

import (
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/mkfs"
)

// CorePath is where core.img lies in an abboot that carries it.
const CorePath = "/grub/core.img"

// Abboot says what the file system of an abboot partition is to be. It is
// made in one go, and never changed through a file system afterwards.
type Abboot struct {
	Start, Size int64 // of the partition on the disk, in bytes
	FSUUID      [16]byte
	Numbers     Numbers
	// Grub are the parameters of grub.cfg; its numbers and StateLBA are
	// filled in here.
	Grub bootctl.GrubParams
	// Loader is GRUB for BIOS when its core.img is to lie in abboot.
	Loader *BIOSLoader
	// Files are further files, each in one contiguous run.
	Files []mkfs.File
}

// Numbers are partition numbers.
type Numbers struct{ Boot, A, B, Data int }

// PlacedAbboot is an Abboot whose every byte is known.
type PlacedAbboot struct {
	Layout bootctl.Layout
	// Extents is where each file lies on the disk.
	Extents map[string]bootctl.Extent
	// CoreOff is the byte of the disk that core.img begins at; 0: it is
	// elsewhere.
	CoreOff int64

	abboot *Abboot
	files  []mkfs.File
}

// Place settles where each file lies. The addresses become known in three
// steps: those of the preallocated files, which grub.cfg needs one of; with
// its length those of all others, which core.img needs its own of.
func (a *Abboot) Place() (*PlacedAbboot, error) {
	p := &PlacedAbboot{abboot: a, Layout: bootctl.Layout{
		ID: a.Grub.ID, BootPart: a.Numbers.Boot, APart: a.Numbers.A, BPart: a.Numbers.B, DataPart: a.Numbers.Data,
	}}
	p.files = []mkfs.File{{Path: bootctl.IDPath(a.Grub.ID), Data: []byte(a.Grub.ID + "\n")}}
	for _, f := range bootctl.PreallocatedFiles() {
		p.files = append(p.files, mkfs.File{Path: f.Path, Size: f.Size})
	}
	// What is placed behind grub.cfg moves with its length; the preallocated
	// files are in front of it.
	config := len(p.files)
	p.files = append(p.files, mkfs.File{Path: bootctl.GrubConfigPath, Size: 1})
	p.files = append(p.files, a.Files...)
	if a.Loader != nil {
		p.files = append(p.files, mkfs.File{Path: CorePath, Size: int64(len(a.Loader.CoreImage(0)))})
	}
	if err := p.place(); err != nil {
		return nil, err
	}
	for _, f := range bootctl.PreallocatedFiles() {
		if err := p.Layout.Place(f.Path, p.Extents[f.Path]); err != nil {
			return nil, err
		}
	}
	g := a.Grub
	g.BootPart, g.APart, g.BPart = a.Numbers.Boot, a.Numbers.A, a.Numbers.B
	g.StateLBA = p.Layout.State.Off / sector
	text, err := bootctl.RenderGrubConfig(g)
	if err != nil {
		return nil, err
	}
	p.files[config].Data, p.files[config].Size = text, 0
	if err := p.place(); err != nil {
		return nil, err
	}
	if a.Loader != nil {
		p.CoreOff = p.Extents[CorePath].Off
		p.files[len(p.files)-1].Data = a.Loader.CoreImage(p.CoreOff)
	}
	return p, p.checkPlaces()
}

// place fills in Extents.
func (p *PlacedAbboot) place() error {
	a := p.abboot
	extents, err := mkfs.Ext4(discard{}, a.Size, a.FSUUID, "abboot", p.files)
	if err != nil {
		return err
	}
	p.Extents = make(map[string]bootctl.Extent, len(extents))
	for path, e := range extents {
		p.Extents[path] = bootctl.Extent{Off: a.Start + e.Off, Len: e.Len}
	}
	return nil
}

// checkPlaces makes sure that no preallocated file has moved since its
// address went into the layout and grub.cfg.
func (p *PlacedAbboot) checkPlaces() error {
	layout := p.Layout
	for _, f := range bootctl.PreallocatedFiles() {
		if err := layout.Place(f.Path, p.Extents[f.Path]); err != nil {
			return err
		}
	}
	if layout != p.Layout {
		return fmt.Errorf("internal error: files of abboot have moved")
	}
	return nil
}

// Write writes the file system to the partition, or to whatever takes its
// place: every call writes the same bytes to the same offsets. Blocks that no
// file and no metadata use are not written.
func (p *PlacedAbboot) Write(w io.WriterAt) error {
	a := p.abboot
	_, err := mkfs.Ext4(w, a.Size, a.FSUUID, "abboot", p.files)
	return err
}

// discard takes the passes that only settle places.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
