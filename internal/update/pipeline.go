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

type fetched struct {
	frame      bundle.Frame
	compressed []byte
	buf        []byte
}

// run moves all frames of ir to w; with a nil w it only checks them. Frames
// that w holds already are passed over and not fetched where the source
// allows that; run returns their size in bytes.
func (p *pipeline) run(ctx context.Context, ir *bundle.ImageReader, w *slotWriter) (reused int64, err error) {
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
		var err error
		reused, err = p.fetch(ctx, ir, w, free, jobs, &done)
		return err
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
				out, err := dec.Decode(plain, j.frame, j.compressed)
				if err != nil {
					return err
				}
				if w != nil {
					if err := w.WriteFrame(j.frame.Off, out); err != nil {
						return fmt.Errorf("%w: bytes [%d, %d): %w", ErrWrite, j.frame.Off, j.frame.Off+j.frame.Len, err)
					}
				}
				done.Add(j.frame.Len)
				free <- j.buf
			}
			return nil
		})
	}
	err = g.Wait()
	return reused, err
}

// fetch reads the frames in their order and hands them out.
func (p *pipeline) fetch(ctx context.Context, ir *bundle.ImageReader, w *slotWriter, free chan []byte, jobs chan<- fetched, done *atomic.Int64) (reused int64, err error) {
	total := ir.Image().Size
	for _, f := range ir.Frames() {
		if err := ctx.Err(); err != nil {
			return reused, err
		}
		p.progress(p.label, done.Load(), total)
		if w != nil && w.probe {
			held, err := w.Holds(f.Off, f.Len, f.SHA256)
			if err != nil {
				return reused, fmt.Errorf("%w: reading what the slot holds: %w", ErrWrite, err)
			}
			if held {
				if err := ir.SkipFrame(); err != nil {
					return reused, err
				}
				reused += f.Len
				done.Add(f.Len)
				continue
			}
		}
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return reused, ctx.Err()
		}
		if buf == nil {
			buf = make([]byte, ir.MaxCompressed())
		}
		_, compressed, err := ir.ReadFrame(buf)
		if err != nil {
			if err == io.EOF {
				err = fmt.Errorf("%w: the bundle ends before its last frame", bundle.ErrFormat)
			}
			return reused, err
		}
		select {
		case jobs <- fetched{f, compressed, buf}:
		case <-ctx.Done():
			return reused, ctx.Err()
		}
	}
	p.progress(p.label, total, total)
	return reused, nil
}

// slotWriter is a slot and whether it is worth looking at what it holds.
type slotWriter struct {
	*partition.SlotWriter
	probe bool
}
