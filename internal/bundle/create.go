package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/abupdate/abupdate/internal/atomicfile"
)

// CreateOptions says what goes into a bundle.
type CreateOptions struct {
	Product      string
	Version      string
	Compatible   []string
	Epoch        uint64
	MinimumAgent string
	CPULevel     int
	Images       []ImageSource
	Keyrings     []byte        // keyrings.json; nil: no rotation yet
	Keys         []*PrivateKey // none: an unsigned bundle, for AttachSignature

	FrameSize int64  // 0: DefaultFrameSize; of LayoutFiles the most
	Layout    Layout // 0: LayoutFixed
	// Previous is the path of an older bundle; empty: none. LayoutFiles keeps
	// what its root image has apart from what is new.
	Previous    string
	Level       int    // 0: DefaultLevel
	ZstdProgram string // path of the zstd program, used from ProgramLevel on
	Workers     int    // 0: one for each CPU

	Progress func(done, total int64) // bytes of images; may be nil
	Warn     func(string)            // may be nil
}

// ImageSource is a file that becomes an image.
type ImageSource struct {
	Name       string // "rootfs", "boot"
	Path       string
	KernelArgs string
}

// Create builds a bundle at path and returns its manifest. The same input
// gives the same bytes. A file that is already at path is replaced at the
// end, when everything has worked out, and not before.
func Create(ctx context.Context, path string, o CreateOptions) (*Manifest, error) {
	m, err := create(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	return m, nil
}

func create(ctx context.Context, path string, o CreateOptions) (*Manifest, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	o.setDefaults()
	if err := o.warnOfKeys(); err != nil {
		return nil, err
	}
	total, err := o.totalSize()
	if err != nil {
		return nil, err
	}
	m := o.manifest()
	// The manifest comes first in the bundle but needs the hashes of all that
	// follows: the compressed images wait in nameless temporary files.
	var packed []*packedImage
	defer func() {
		for _, p := range packed {
			p.spool.Close()
		}
	}()
	var done int64
	progress := func(n int64) {
		done += n
		o.Progress(done, total)
	}
	for _, src := range o.Images {
		p, err := o.packImage(ctx, src, filepath.Dir(path), progress)
		if err != nil {
			return nil, fmt.Errorf("image %s: packing %s: %w", src.Name, src.Path, err)
		}
		packed = append(packed, p)
		m.Images = append(m.Images, p.image)
		if p.image.VariedFrames != 0 && m.Critical == nil {
			// An agent that knows only frames of one length must say so.
			m.Critical = []string{"images.variedFrames"}
		}
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	e := &envelope{PayloadType: ManifestType, Payload: m.Marshal()}
	for _, key := range o.Keys {
		if err := e.sign(key); err != nil {
			return nil, err
		}
	}
	return m, writeBundle(path, o.Keyrings, e, packed)
}

func (o *CreateOptions) setDefaults() {
	if o.Keyrings == nil {
		o.Keyrings = EmptyKeyrings()
	}
	if o.Layout == 0 {
		o.Layout = LayoutFixed
	}
	if o.FrameSize == 0 {
		o.FrameSize = DefaultFrameSize
	}
	if o.Level == 0 {
		o.Level = DefaultLevel
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
}

// Check finds mistakes in the options, before hours of compression.
func (o CreateOptions) Check() error {
	o.setDefaults()
	if o.Level < 1 || o.Level > MaxLevel {
		return fmt.Errorf("compression level %d; must be 1 to %d", o.Level, MaxLevel)
	}
	if len(o.Images) == 0 || len(o.Images) > maxImages {
		return fmt.Errorf("%d images; must be 1 to %d", len(o.Images), maxImages)
	}
	probe := o.manifest()
	for _, src := range o.Images {
		probe.Images = append(probe.Images, Image{
			Name: src.Name, KernelArgs: src.KernelArgs, FrameSize: o.FrameSize,
			Size: 512, CompressedSize: 1, BlocksSize: blocksHeaderSize + 8, // the least there is
		})
	}
	return probe.check()
}

// manifest returns the manifest without its images.
func (o *CreateOptions) manifest() *Manifest {
	return &Manifest{
		Format: FormatVersion, Product: o.Product, Version: o.Version, Compatible: o.Compatible,
		Epoch: o.Epoch, MinimumAgent: o.MinimumAgent, CPULevel: o.CPULevel,
	}
}

// warnOfKeys refuses a chain that no device would accept, and warns of keys
// that devices at its end will not count.
func (o *CreateOptions) warnOfKeys() error {
	chain, err := checkChain(o.Keyrings)
	if err != nil {
		return err
	}
	if len(chain) == 0 || len(o.Keys) == 0 {
		return nil
	}
	newest, good := chain[len(chain)-1].keyring, 0
	for _, key := range o.Keys {
		if _, ok := newest.find(key.Public().ID); ok {
			good++
		} else {
			o.Warn(fmt.Sprintf("key %s is not in keyring version %d of the chain: devices will not count its signature", key.Public().ID, newest.Version))
		}
	}
	if good < newest.Threshold {
		o.Warn(fmt.Sprintf("%d signatures count, and keyring version %d wants %d: add the others with attach-signature", good, newest.Version, newest.Threshold))
	}
	return nil
}

func (o *CreateOptions) totalSize() (total int64, err error) {
	for _, src := range o.Images {
		f, err := os.Open(src.Path)
		if err != nil {
			return 0, err
		}
		n, err := f.Seek(0, io.SeekEnd) // also right for a block device
		f.Close()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// writeBundle puts the parts together.
func writeBundle(path string, keyrings []byte, e *envelope, images []*packedImage) error {
	signed := e.marshal()
	if len(signed) > MaxManifest {
		return fmt.Errorf("%s has %d bytes; at most %d", ManifestName, len(signed), MaxManifest)
	}
	out, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer out.Abort()
	t := &tarWriter{w: out.File}
	err = errors.Join(t.file(KeyringsName, keyrings), t.file(ManifestName, signed))
	for _, p := range images {
		if err == nil {
			err = p.writeTo(t)
		}
	}
	if err == nil {
		err = t.close()
	}
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return out.Commit()
}
