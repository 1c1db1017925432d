package bundle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/abupdate/abupdate/internal/atomicfile"
	"github.com/abupdate/abupdate/internal/bundle/delta"
)

// DeltaOptions says what a delta is made from.
type DeltaOptions struct {
	From, To string // paths of the old and of the new bundle
	Level    delta.Level
	Workers  int // 0: one for each CPU

	Progress func(done, total int64) // bytes of new images; may be nil
}

// CreateDelta makes a delta bundle at path: with it, a device that runs the
// old bundle's images makes those of the new bundle. It carries the new
// bundle's signed manifest, so no key is needed; and no signature is checked,
// for that is what devices do. The same input gives the same bytes.
func CreateDelta(ctx context.Context, path string, o DeltaOptions) (*Manifest, error) {
	m, err := createDelta(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	return m, nil
}

func createDelta(ctx context.Context, path string, o DeltaOptions) (*Manifest, error) {
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	var total, done int64 // of all the work
	for _, p := range []string{o.From, o.To} {
		n, err := imagesSize(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		total += n
	}
	// Coding a frame takes so much longer than reading one.
	const weight = 9
	newSize, err := imagesSize(o.To)
	if err != nil {
		return nil, err
	}
	total += weight * newSize
	progress := func(n int64) {
		done += n
		o.Progress(int64(float64(newSize)*float64(done)/float64(total)), newSize)
	}
	dir, hashed := filepath.Dir(path), quickHasher()
	old, err := unpack(ctx, o.From, dir, hashed, progress)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.From, err)
	}
	defer old.close()
	to, err := unpack(ctx, o.To, dir, hashed, progress)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.To, err)
	}
	defer to.close()
	out, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Abort()
	t := &tarWriter{w: out.File}
	if err := errors.Join(t.file(KeyringsName, to.keyrings), t.file(ManifestName, to.envelope)); err != nil {
		return nil, err
	}
	for _, img := range to.images {
		err := img.writeDelta(ctx, t, old.find(img.Name), dir, o, func(n int64) { progress(weight * n) })
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", img.Name, err)
		}
	}
	if err := t.close(); err != nil {
		return nil, err
	}
	return to.manifest, out.Commit()
}

func imagesSize(path string) (total int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	u, err := Inspect(NewStream(f))
	if err != nil {
		return 0, err
	}
	for _, img := range u.Manifest.Images {
		total += img.Size
	}
	return total, nil
}

// unpacked is a bundle whose images lie in nameless temporary files.
type unpacked struct {
	keyrings, envelope []byte
	manifest           *Manifest
	images             []*unpackedImage
}

type unpackedImage struct {
	Image
	index  *FrameIndex
	hashes []uint64 // of the blocks; 0: zeros
	file   *os.File
}

func (u *unpacked) close() {
	for _, img := range u.images {
		img.file.Close()
	}
}

// find returns the image of that name; one without content when there is none.
func (u *unpacked) find(name string) *unpackedImage {
	for _, img := range u.images {
		if img.Name == name {
			return img
		}
	}
	return &unpackedImage{}
}

// unpack reads a bundle, checks it against its own manifest and leaves the
// images in files.
func unpack(ctx context.Context, path, dir string, hashed func([]byte) []BlockHash, progress func(int64)) (_ *unpacked, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, t, err := inspect(NewStream(f))
	if err != nil {
		return nil, err
	}
	u := &unpacked{keyrings: head.chain, envelope: head.envelope.marshal(), manifest: head.Manifest}
	r := &Reader{tar: *t, manifest: head.Manifest}
	defer func() {
		if err != nil {
			u.close()
		}
	}()
	for _, img := range head.Manifest.Images {
		ui := &unpackedImage{Image: img, hashes: make([]uint64, blockCount(img.Size))}
		ir, err := r.Next()
		if err != nil {
			return nil, err
		}
		if ir.Delta() != nil {
			return nil, formatErrorf("reading image %s: this is a delta, not a whole bundle", img.Name)
		}
		if ui.file, err = newSpool(dir); err != nil {
			return nil, err
		}
		u.images, ui.index = append(u.images, ui), ir.index
		err = ir.decodeAll(ctx, hashed, func(f decodedFrame) error {
			progress(f.Len)
			if f.Zero {
				return nil // a hole
			}
			for i, h := range f.blocks {
				ui.hashes[f.Off/BlockSize+int64(i)] = uint64(h)
			}
			_, err := ui.file.WriteAt(f.data, f.Off)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", img.Name, err)
		}
		if err := ui.file.Truncate(img.Size); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// quickHasher returns a hash of blocks that is good for one run of the program:
// what equal blocks have in common, and faster than the one of a bundle.
func quickHasher() func(data []byte) []BlockHash {
	seed := maphash.MakeSeed()
	return func(data []byte) (hashes []BlockHash) {
		for len(data) > 0 {
			n := min(BlockSize, len(data))
			h := BlockHash(0)
			if !isZero(data[:n]) {
				h = BlockHash(maphash.Bytes(seed, data[:n]) | 1)
			}
			hashes, data = append(hashes, h), data[n:]
		}
		return hashes
	}
}

// writeDelta codes an image and writes its entries.
func (img *unpackedImage) writeDelta(ctx context.Context, t *tarWriter, old *unpackedImage, dir string, o DeltaOptions, progress func(int64)) error {
	b, err := delta.NewBuilder(old.file, old.Size, old.hashes, img.hashes, o.Level)
	if err != nil {
		return err
	}
	spool, err := newSpool(dir)
	if err != nil {
		return err
	}
	defer spool.Close()
	h := &deltaHeader{oldSize: old.Size, oldSHA256: old.SHA256, dict: b.Dict(), records: nonZero(img.index.Frames)}
	size := int64(0)
	write := func(p []byte) error {
		n, err := spool.Write(p)
		size += int64(n)
		return err
	}
	if err := write(h.marshal()); err != nil {
		return err
	}
	workers := make([]*delta.Worker, o.Workers)
	for i := range workers {
		workers[i] = b.NewWorker()
	}
	next := 0
	produce := func() (Frame, error) {
		for next < len(img.index.Frames) {
			f := img.index.Frames[next]
			next++
			if !f.Zero {
				return f, nil
			}
			progress(f.Len)
		}
		return Frame{}, io.EOF
	}
	work := func(w int, f Frame) (codedFrame, error) {
		data := make([]byte, f.Len)
		if _, err := img.file.ReadAt(data, f.Off); err != nil {
			return codedFrame{}, err
		}
		first := f.Off / BlockSize
		r, err := workers[w].Encode(data, img.hashes[first:first+blockCount(f.Len)])
		if err != nil {
			return codedFrame{}, fmt.Errorf("frame at byte %d: %w", f.Off, err)
		}
		return codedFrame{f.Len, r.Marshal()}, nil
	}
	consume := func(c codedFrame) error {
		head := binary.LittleEndian.AppendUint32(nil, uint32(len(c.record)))
		head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(c.record, castagnoli))
		progress(c.len)
		return errors.Join(write(head), write(c.record))
	}
	if err := ordered(ctx, o.Workers, produce, work, consume); err != nil {
		return err
	}
	if err := t.file(img.Name+framesSuffix, img.index.Marshal()); err != nil {
		return err
	}
	if err := t.entry(img.Name+deltaSuffix, size); err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return t.copy(spool)
}

// codedFrame is a frame on its way from a worker.
type codedFrame struct {
	len    int64
	record []byte
}
