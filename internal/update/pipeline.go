package update

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
)

// pipeline moves the frames of an image from the bundle to the slot: one
// goroutine fetches, the others check, decode and write, with a fixed number
// of buffers between them.
type pipeline struct {
	progress func(label string, done, total int64)
	label    string
	src      source.Source
	ir       *bundle.ImageReader
	recipe   *recipe
	w        *partition.SlotWriter // nil: frames are only checked

	done atomic.Int64 // bytes of the image

	mu     sync.Mutex
	failed []int // frames that the device turned out not to have
}

// frameMemory bounds the buffers of a pipeline, in bytes; two frames in
// flight are always allowed.
const frameMemory = 32 << 20

// workers returns how many frames may be decoded at once: each takes a
// compressed and a plain buffer.
func workers(frameSize int64) int {
	return max(1, min(runtime.GOMAXPROCS(0), 4, int(frameMemory/(2*frameSize))))
}

// job is a frame on its way to a worker.
type job struct {
	i          int
	compressed []byte // nil: the frame is put together from the device
	buf        []byte
}

// run moves the frames. It returns those, in order, that were to come from the
// device and do not have their hash: they were not written.
func (p *pipeline) run(ctx context.Context) (failed []int, err error) {
	frameSize := int(p.ir.Image().FrameSize)
	n := workers(p.ir.Image().FrameSize)
	free := make(chan []byte, n+1)
	for _, b := range blockdev.AlignedBuffers(n+1, max(p.ir.MaxCompressed(), frameSize)) {
		free <- b
	}
	jobs := make(chan job)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		return p.feed(ctx, free, jobs)
	})
	q := newFrameQueue(p.w, p.ir.Image().FrameSize, n)
	q.run(ctx, g, n, func() error {
		dec, err := bundle.NewDecoder(frameSize)
		if err != nil {
			return err
		}
		defer dec.Close()
		for j := range jobs {
			if j.compressed == nil {
				err = p.assemble(ctx, j, q, free)
			} else {
				err = p.move(ctx, dec, j, q)
				free <- j.buf
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	err = g.Wait()
	slices.Sort(p.failed)
	return p.failed, err
}

// move makes and checks one frame and gives it to the slot.
func (p *pipeline) move(ctx context.Context, dec *bundle.Decoder, j job, q *frameQueue) error {
	f := p.recipe.frames[j.i]
	buf, err := q.buffer(ctx)
	if err != nil {
		return err
	}
	done := func() {
		p.done.Add(f.Len)
		q.plain <- buf
	}
	decode := dec.Decode
	if p.w != nil {
		decode = dec.Expand // the read-back hashes what the disk returns: once is enough
	}
	out, err := decode(buf, f, j.compressed)
	if err != nil {
		var sent []byte
		if sent, err = Arrived(ctx, p.src, p.ir, j.i, j.compressed); err == nil {
			out, err = decode(buf, f, sent)
		}
	}
	if err != nil || p.w == nil {
		done()
		return err
	}
	return q.put(ctx, madeFrame{f, out, done})
}

// assemble writes a frame that the device has.
func (p *pipeline) assemble(ctx context.Context, j job, q *frameQueue, free chan<- []byte) error {
	f := p.recipe.frames[j.i]
	done := func() {
		p.done.Add(f.Len)
		free <- j.buf
	}
	plain := j.buf[:f.Len]
	p.recipe.read(j.i, plain, 0)
	if f.Matches(plain) {
		return q.put(ctx, madeFrame{f, plain, done})
	}
	done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = append(p.failed, j.i)
	return nil
}

// feed goes over the frames in their order and hands out those that are work.
func (p *pipeline) feed(ctx context.Context, free chan []byte, jobs chan<- job) error {
	total := p.ir.Image().Size
	for i, f := range p.recipe.frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.progress(p.label, p.done.Load(), total)
		from := p.recipe.origins[i]
		if p.w != nil && (from == fromZeros || from == fromPlace) {
			if err := p.passOver(f, from); err != nil {
				return err
			}
			continue
		}
		j := job{i: i}
		select {
		case j.buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.begin(&j, from); err != nil {
			return err
		}
		select {
		case jobs <- j:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.progress(p.label, total, total)
	return nil
}

// begin does for a frame what has to be done in the order of the image.
func (p *pipeline) begin(j *job, from origin) (err error) {
	if from == fromDevice {
		// Before any later frame is written over it: see recipe.lasts.
		p.recipe.read(j.i, j.buf, inTarget)
		return p.ir.SkipFrame()
	}
	_, j.compressed, err = p.ir.ReadFrame(j.buf)
	if err == io.EOF {
		err = fmt.Errorf("%w: the bundle ends before its last frame", bundle.ErrFormat)
	}
	return err
}

// passOver leaves a frame in the bundle that the slot has, or that is zeros:
// which frames they are is signed.
func (p *pipeline) passOver(f bundle.Frame, from origin) error {
	if from == fromZeros {
		if err := p.w.WriteZeros(f.Off, f.Len); err != nil {
			return writeError(f, err)
		}
	}
	p.done.Add(f.Len)
	return p.ir.SkipFrame()
}
