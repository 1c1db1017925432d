package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/minio/sha256-simd"
)

// packedImage is a compressed image that waits to be put into a bundle.
type packedImage struct {
	image  Image
	frames []byte
	blocks []byte
	spool  *os.File // the compressed frames
}

func (p *packedImage) writeTo(t *tarWriter) error {
	if err := t.file(p.image.Name+framesSuffix, p.frames); err != nil {
		return err
	}
	if err := t.file(p.image.Name+blocksSuffix, p.blocks); err != nil {
		return err
	}
	if _, err := p.spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := t.entry(p.image.Name+zstSuffix, p.image.CompressedSize); err != nil {
		return err
	}
	return t.copy(p.spool)
}

// newSpool makes a temporary file that vanishes with the process.
func newSpool(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".abupdate-spool-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// packImage compresses one image, frame by frame and in parallel.
func (o *CreateOptions) packImage(ctx context.Context, src ImageSource, dir string, progress func(int64)) (_ *packedImage, err error) {
	in, err := os.Open(src.Path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if err := checkGeometry(size, o.FrameSize); err != nil {
		return nil, err
	}
	fs, err := probeFilesystem(in)
	if err != nil {
		return nil, err
	}
	if fs.name == "" {
		o.Warn(fmt.Sprintf("image %s: %s holds no file system that is known here", src.Name, src.Path))
	}
	for _, w := range fs.warnings {
		o.Warn(fmt.Sprintf("image %s: %s", src.Name, w))
	}
	spool, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	p := &packer{in: in, size: size, frameSize: o.FrameSize, spool: spool, progress: progress, blocks: newBlockWriter(size)}
	if o.Layout == LayoutFiles {
		p.varied = true
		if p.cuts, err = o.planFiles(in, size); err != nil {
			spool.Close()
			return nil, err
		}
	}
	if err := p.run(ctx, o); err != nil {
		spool.Close()
		return nil, err
	}
	packed := p.result()
	packed.image.Name, packed.image.KernelArgs = src.Name, src.KernelArgs
	packed.image.Filesystem, packed.image.FilesystemFeatures = fs.name, fs.features
	return packed, nil
}

// packer is the state of packing one image.
type packer struct {
	in        io.ReaderAt
	size      int64
	frameSize int64
	varied    bool
	cuts      []int64 // of varied frames: where those end that are not read yet
	spool     *os.File
	progress  func(int64)

	off    int64 // of the next frame to read
	frames []Frame
	blocks *blockWriter
	sum    Digest
}

// rawFrame is a frame on its way to a worker; packedFrame on its way back.
type rawFrame struct {
	off  int64
	data []byte
}

type packedFrame struct {
	Frame
	data       []byte
	compressed []byte
	blocks     []BlockHash
}

func (p *packer) run(ctx context.Context, o *CreateOptions) error {
	workers := make([]*packWorker, o.Workers)
	for i := range workers {
		var err error
		if workers[i], err = newPackWorker(ctx, o); err != nil {
			return err
		}
	}
	whole := sha256.New()
	consume := func(f packedFrame) error {
		whole.Write(f.data)
		p.blocks.add(f.blocks)
		if _, err := p.spool.Write(f.compressed); err != nil {
			return err
		}
		p.frames = append(p.frames, f.Frame)
		p.progress(f.Len)
		return nil
	}
	work := func(w int, f rawFrame) (packedFrame, error) { return workers[w].pack(f) }
	if err := ordered(ctx, o.Workers, p.readFrame, work, consume); err != nil {
		return err
	}
	whole.Sum(p.sum[:0])
	return nil
}

func (p *packer) readFrame() (rawFrame, error) {
	if p.off == p.size {
		return rawFrame{}, io.EOF
	}
	end := min(p.off+p.frameSize, p.size)
	if p.varied {
		end, p.cuts = p.cuts[0], p.cuts[1:]
	}
	f := rawFrame{p.off, make([]byte, end-p.off)}
	if n, err := p.in.ReadAt(f.data, f.off); n < len(f.data) {
		if errors.Is(err, io.EOF) {
			return rawFrame{}, errors.New("the file became shorter while it was read")
		}
		return rawFrame{}, err
	}
	p.off += int64(len(f.data))
	return f, nil
}

func (p *packer) result() *packedImage {
	x := &FrameIndex{ImageSize: p.size, FrameSize: p.frameSize, Varied: p.varied, Frames: p.frames}
	r := &packedImage{frames: x.Marshal(), blocks: p.blocks.bytes(), spool: p.spool}
	r.image = Image{
		Size: p.size, SHA256: p.sum,
		FrameSize: p.frameSize, FramesSHA256: digest(r.frames),
		BlocksSize: int64(len(r.blocks)), BlocksSHA256: digest(r.blocks),
		CompressedSize: x.CompressedSize(),
	}
	if x.Varied {
		r.image.VariedFrames = int64(len(x.Frames))
	}
	return r
}

// packWorker packs frames on one goroutine.
type packWorker struct {
	compressor compressor
	decoder    *Decoder
	zeros      map[int]packedFrame // of zero frames, by length
	checked    []byte
}

func newPackWorker(ctx context.Context, o *CreateOptions) (*packWorker, error) {
	c, err := newCompressor(ctx, o.Level, o.FrameSize, o.ZstdProgram)
	if err != nil {
		return nil, err
	}
	d, err := NewDecoder(int(o.FrameSize))
	if err != nil {
		return nil, err
	}
	return &packWorker{compressor: c, decoder: d, zeros: map[int]packedFrame{}}, nil
}

// pack compresses a frame. Zero frames, most of a young file system, are
// packed once.
func (w *packWorker) pack(f rawFrame) (packedFrame, error) {
	if !isZero(f.data) {
		return w.packData(f)
	}
	z, ok := w.zeros[len(f.data)]
	if !ok {
		var err error
		if z, err = w.packData(f); err != nil {
			return packedFrame{}, err
		}
		w.zeros[len(f.data)] = z
	}
	z.Off = f.off
	return z, nil
}

func (w *packWorker) packData(f rawFrame) (packedFrame, error) {
	compressed, err := w.compressor.compress(f.data)
	if err != nil {
		return packedFrame{}, err
	}
	p := packedFrame{
		Frame: Frame{
			Off: f.off, Len: int64(len(f.data)), SHA256: digest(f.data),
			CompressedLen: len(compressed), CompressedSHA256: digest(compressed),
		},
		data: f.data, compressed: compressed,
	}
	// Decode it the way a device will: a compressor that went wrong must show
	// here, not in the field.
	if w.checked, err = w.decoder.Decode(w.checked, p.Frame, compressed); err != nil {
		return packedFrame{}, fmt.Errorf("internal error: checking a frame just compressed: %w", err)
	}
	p.blocks = hashBlocks(f.data)
	return p, nil
}
