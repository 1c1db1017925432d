package bundle

import (
	"context"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sync"

	"github.com/minio/sha256-simd"
)

// imageSink takes a verified image. Frames come in order; commit comes when
// the whole image has been checked.
type imageSink interface {
	frame(f Frame, data []byte) error
	commit() error
	abort()
}

// Verify reads a whole bundle and checks everything in it, also what a
// device takes on the signer's word: that the frames make up the image whose
// hash the manifest states, and that the block index is that of the image.
func Verify(ctx context.Context, s Stream, trusted *Keyring, progress func(done, total int64)) (*Manifest, error) {
	r, err := Open(s, trusted)
	if err != nil {
		return nil, err
	}
	return r.manifest, r.whole(ctx, progress, func(Image) (imageSink, error) { return noSink{}, nil })
}

type noSink struct{}

func (noSink) frame(Frame, []byte) error { return nil }
func (noSink) commit() error             { return nil }
func (noSink) abort()                    {}

// whole reads every image into a sink of its own.
func (r *Reader) whole(ctx context.Context, progress func(done, total int64), open func(Image) (imageSink, error)) error {
	var done, total int64
	for _, img := range r.manifest.Images {
		total += img.Size
	}
	for {
		ir, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		sink, err := open(ir.image)
		if err != nil {
			return err
		}
		err = ir.into(ctx, sink, func(n int64) {
			done += n
			if progress != nil {
				progress(done, total)
			}
		})
		if err == nil {
			err = sink.commit()
		}
		if err != nil {
			sink.abort()
			return fmt.Errorf("image %s: %w", ir.image.Name, err)
		}
	}
}

// wholeCheck is what only a pass over the whole image in order can check.
type wholeCheck struct {
	image  Image
	sum    hash.Hash
	blocks *blockWriter
	index  hash.Hash
}

func newWholeCheck(img Image) *wholeCheck {
	return &wholeCheck{image: img, sum: sha256.New(), blocks: newBlockWriter(img.Size), index: sha256.New()}
}

func (c *wholeCheck) frame(f decodedFrame) {
	c.sum.Write(f.data)
	c.blocks.add(f.blocks)
	c.index.Write(c.blocks.buf) // and forget it: the index can be large
	c.blocks.buf = c.blocks.buf[:0]
}

func (c *wholeCheck) finish() error {
	c.index.Write(c.blocks.bytes())
	if Digest(c.sum.Sum(nil)) != c.image.SHA256 {
		return hashErrorf("its SHA-256 is not the one in the manifest: the frames are those of another image")
	}
	if Digest(c.index.Sum(nil)) != c.image.BlocksSHA256 {
		return hashErrorf("%s%s is not the block index of the image", c.image.Name, blocksSuffix)
	}
	return nil
}

// readFrame and decodedFrame go to a worker and come back.
type readFrame struct {
	index      int
	compressed []byte
}

type decodedFrame struct {
	Frame
	data   []byte
	blocks []BlockHash
}

// into decodes all frames and checks the image as a whole.
func (ir *ImageReader) into(ctx context.Context, sink imageSink, progress func(int64)) error {
	check := newWholeCheck(ir.image)
	err := ir.decodeAll(ctx, hashBlocks, func(f decodedFrame) error {
		check.frame(f)
		progress(f.Len)
		return sink.frame(f.Frame, f.data)
	})
	if err != nil {
		return err
	}
	return check.finish()
}

// decodeAll decodes and checks all frames in parallel, has the blocks of each
// hashed there, and gives them to consume in their order.
func (ir *ImageReader) decodeAll(ctx context.Context, hashed func(data []byte) []BlockHash, consume func(decodedFrame) error) error {
	workers := runtime.GOMAXPROCS(0)
	decoders := make([]*Decoder, workers)
	for i := range decoders {
		d, err := NewDecoder(int(ir.image.FrameSize))
		if err != nil {
			return err
		}
		defer d.Close()
		decoders[i] = d
	}
	var buffers bufferPool
	read := func() (readFrame, error) {
		i, b, err := ir.ReadFrame(buffers.get(ir.MaxCompressed()))
		return readFrame{i, b}, err
	}
	decode := func(w int, in readFrame) (decodedFrame, error) {
		f := ir.index.Frames[in.index]
		data, err := decoders[w].Decode(buffers.get(int(ir.image.FrameSize)), f, in.compressed)
		buffers.put(in.compressed)
		if err != nil {
			return decodedFrame{}, err
		}
		return decodedFrame{f, data, hashed(data)}, nil
	}
	return ordered(ctx, workers, read, decode, func(f decodedFrame) error {
		defer buffers.put(f.data)
		return consume(f)
	})
}

// bufferPool reuses buffers between the stages.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get(n int) []byte {
	if b, ok := p.pool.Get().(*[]byte); ok && cap(*b) >= n {
		return *b
	}
	return make([]byte, n)
}

func (p *bufferPool) put(b []byte) {
	b = b[:cap(b)]
	p.pool.Put(&b)
}
