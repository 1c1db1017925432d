package bootctl

import (
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// Paths in the abboot partition. GRUB finds its files by them; abupdate finds
// them by the address table, except GrubConfigPath and the id file, which
// never change.
const (
	GrubConfigPath = "/grub/grub.cfg"
	Env0Path       = "/abupdate/env0"
	Env1Path       = "/abupdate/env1"
	StatePath      = "/abupdate/state"
	OldDir         = "/old"      // vmlinuz and initramfs of the old system
	MigratorDir    = "/migrator" // vmlinuz and initramfs of the migrator
)

// IDPath returns the path of the file by which grub.cfg recognises its disk.
func IDPath(id string) string { return "/abupdate/id-" + id }

// ArgsPath returns the path of a system's args block.
func ArgsPath(s System) string { return "/abupdate/args-" + s.String() }

// blockSize is the physical sector that every disk of today writes whole, and
// the block of abboot's file system. What must not die together lies in
// different ones.
const blockSize = 4096

// Extent is the bytes [Off, Off+Len) of the disk.
type Extent struct{ Off, Len int64 }

// End returns the first byte behind the extent.
func (e Extent) End() int64 { return e.Off + e.Len }

// Layout says where everything lies: the address table, kept in the header of
// the state file.
type Layout struct {
	// ID is 8 hexadecimal digits, chosen once for each disk.
	ID string
	// Partition numbers.
	BootPart, APart, BPart, DataPart int
	// Env holds the two copies of the boot state.
	Env [2]Extent
	// Args holds the args blocks, in the order of Systems.
	Args [len(Systems)]Extent
	// State is the state file itself.
	State Extent
}

// Preallocated is a file of abboot that has to exist, with all its blocks in
// one run, before Format.
type Preallocated struct {
	Path string
	Size int64
}

// PreallocatedFiles lists the files that Format fills. Each must start on a
// 4 KiB boundary of the disk.
func PreallocatedFiles() []Preallocated {
	files := []Preallocated{{Env0Path, EnvSize}, {Env1Path, EnvSize}}
	for _, s := range Systems {
		files = append(files, Preallocated{ArgsPath(s), ArgsSize})
	}
	return append(files, Preallocated{StatePath, StateSize})
}

// Place enters the address of the preallocated file at path.
func (l *Layout) Place(path string, e Extent) error {
	for i, f := range l.files() {
		if PreallocatedFiles()[i].Path == path {
			*f = e
			return nil
		}
	}
	return fmt.Errorf("internal error: %s is no preallocated file", path)
}

// files returns the extents in the order of PreallocatedFiles.
func (l *Layout) files() []*Extent {
	files := []*Extent{&l.Env[0], &l.Env[1]}
	for i := range l.Args {
		files = append(files, &l.Args[i])
	}
	return append(files, &l.State)
}

// args returns the extent of a system's args block.
func (l *Layout) args(s System) (Extent, error) {
	for i, other := range Systems {
		if s == other {
			return l.Args[i], nil
		}
	}
	return Extent{}, fmt.Errorf("internal error: args block of %v", s)
}

// Validate returns an error unless the layout fits a disk of size bytes:
// everything has its own 4 KiB blocks, so no torn physical sector takes two
// things with it.
func (l *Layout) Validate(size int64) error {
	if err := validateID(l.ID); err != nil {
		return err
	}
	if err := l.validateParts(); err != nil {
		return err
	}
	files, names := l.files(), PreallocatedFiles()
	for i, e := range files {
		if e.Len != names[i].Size {
			return fmt.Errorf("%s is %d bytes long, not %d", names[i].Path, e.Len, names[i].Size)
		}
		if e.Off%blockSize != 0 {
			return fmt.Errorf("%s starts at byte %d, which is no multiple of %d", names[i].Path, e.Off, blockSize)
		}
		if err := blockdev.CheckRange(e.Off, e.Len, size); err != nil || e.Off == 0 {
			return fmt.Errorf("%s lies outside of the disk, at byte %d", names[i].Path, e.Off)
		}
		for j, other := range files[:i] {
			if e.Off < roundUp(other.End()) && other.Off < roundUp(e.End()) {
				return fmt.Errorf("%s and %s overlap", names[i].Path, names[j].Path)
			}
		}
	}
	return nil
}

// maxPart is the highest partition number: GPT tables have 128 entries.
const maxPart = 128

func (l *Layout) validateParts() error {
	parts := [...]int{l.BootPart, l.APart, l.BPart, l.DataPart}
	for i, n := range parts {
		if n < 1 || n > maxPart {
			return fmt.Errorf("partition number %d", n)
		}
		for _, other := range parts[:i] {
			if n == other {
				return fmt.Errorf("partition %d has two uses", n)
			}
		}
	}
	return nil
}

func validateID(id string) error {
	if len(id) != 8 || strings.Trim(id, "0123456789abcdef") != "" {
		return fmt.Errorf("disk id %.20q: must be 8 hexadecimal digits in lower case", id)
	}
	return nil
}

func roundUp(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }
