package update

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
)

// pipeline moves the frames of an image from the bundle to the slot: one
// goroutine fetches, the others check, decode and write, with a fixed number
// of buffers between them.
type pipeline struct {
	progress func(label string, done, total int64)
	label    string
}

// frameMemory bounds the buffers of a pipeline, in bytes; two frames in
// flight are always allowed.
const frameMemory = 32 << 20

// workers returns how many frames may be decoded at once: each takes a
// compressed and a plain buffer.
func workers(frameSize int64) int {
	return max(1, min(runtime.GOMAXPROCS(0), 4, int(frameMemory/(2*frameSize))))
}

// fetched is a frame on its way to a worker.
type fetched struct {
	frame      bundle.Frame
	compressed []byte
	buf        []byte
}

// run moves the frames of ir to w; with a nil w it only checks them. Frames
// that held names are there already: they are passed over, and not fetched
// where the source allows that.
func (p *pipeline) run(ctx context.Context, ir *bundle.ImageReader, w *partition.SlotWriter, held []bool) error {
	n := workers(ir.Image().FrameSize)
	free := make(chan []byte, n+1)
	for range n + 1 {
		free <- nil
	}
	jobs := make(chan fetched)
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		return p.fetch(ctx, ir, w, held, free, jobs, &done)
	})
	for range n {
		g.Go(func() error {
			dec, err := bundle.NewDecoder(int(ir.Image().FrameSize))
			if err != nil {
				return err
			}
			defer dec.Close()
			plain := blockdev.AlignedBuffer(int(ir.Image().FrameSize))
			for j := range jobs {
				if err := move(w, dec, j, plain); err != nil {
					return err
				}
				done.Add(j.frame.Len)
				free <- j.buf
			}
			return nil
		})
	}
	return g.Wait()
}

// move checks and decodes one frame and gives it to w.
func move(w *partition.SlotWriter, dec *bundle.Decoder, j fetched, plain []byte) error {
	out, err := dec.Decode(plain, j.frame, j.compressed)
	if err != nil || w == nil {
		return err
	}
	if err := w.WriteFrame(j.frame.Off, out); err != nil {
		return writeError(j.frame, err)
	}
	return nil
}

func writeError(f bundle.Frame, err error) error {
	return fmt.Errorf("%w: bytes [%d, %d): %w", ErrWrite, f.Off, f.Off+f.Len, err)
}

// fetch reads the frames in their order and hands them out. Zeros need no
// bundle: which frames they are is signed.
func (p *pipeline) fetch(ctx context.Context, ir *bundle.ImageReader, w *partition.SlotWriter, held []bool, free chan []byte, jobs chan<- fetched, done *atomic.Int64) error {
	total := ir.Image().Size
	for i, f := range ir.Frames() {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.progress(p.label, done.Load(), total)
		if w != nil && (f.Zero || held != nil && held[i]) {
			if err := passOver(ir, w, f, held != nil && held[i]); err != nil {
				return err
			}
			done.Add(f.Len)
			continue
		}
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if buf == nil {
			buf = make([]byte, ir.MaxCompressed())
		}
		_, compressed, err := ir.ReadFrame(buf)
		if err != nil {
			if err == io.EOF {
				err = fmt.Errorf("%w: the bundle ends before its last frame", bundle.ErrFormat)
			}
			return err
		}
		select {
		case jobs <- fetched{f, compressed, buf}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.progress(p.label, total, total)
	return nil
}

// passOver leaves a frame in the bundle that the slot has, or that is zeros.
func passOver(ir *bundle.ImageReader, w *partition.SlotWriter, f bundle.Frame, held bool) error {
	if !held {
		if err := w.WriteZeros(f.Off, f.Len); err != nil {
			return writeError(f, err)
		}
	}
	return ir.SkipFrame()
}
