package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/delta"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
)

// making is a slot that gets the frames of an image that a delta and the
// running slot make. Nothing is taken on trust: a frame is written only when
// its SHA-256 is the signed one, so what is wrong in the delta, or has changed
// in the running slot, costs a frame and no more.
type making struct {
	progress func(label string, done, total int64)
	label    string
	ir       *bundle.ImageReader
	old      blockdev.Scattered
	w        *partition.SlotWriter // nil: frames are only checked

	have []bool // frames that are in the slot

	done    atomic.Int64 // bytes of the image
	mu      sync.Mutex
	damaged int // records that are not as they were written
}

// deltaWorkers bounds the memory: each takes a frame, and a window of up to a
// dictionary and a frame.
const deltaWorkers = 2

// run makes the frames that are not there yet. An error is one of the slot, of
// the network or of the caller; what is wrong with the delta only leaves
// frames missing.
func (m *making) run(ctx context.Context) error {
	n := min(workers(m.ir.Image().FrameSize), deltaWorkers)
	q := newFrameQueue(m.w, m.ir.Image().FrameSize, n)
	jobs := make(chan deltaJob)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		err := m.feed(ctx, q, jobs)
		if errors.Is(err, bundle.ErrFormat) {
			m.noteDamage()
			return nil
		}
		return err
	})
	q.run(ctx, g, n, func() error {
		d := m.ir.Delta()
		maker := delta.NewMaker(m.old, d.OldSize(), d.Limits(bundle.Frame{Len: m.ir.Image().FrameSize}))
		for j := range jobs {
			if err := m.make(ctx, maker, j, q); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// deltaJob is the record of a frame on its way to a worker.
type deltaJob struct {
	i      int
	record *delta.Record
	buf    []byte // the frame's; until it is made, the record is there
}

func (m *making) feed(ctx context.Context, q *frameQueue, jobs chan<- deltaJob) error {
	d := m.ir.Delta()
	for i, f := range m.ir.Frames() {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.progress(m.label, m.done.Load(), m.ir.Image().Size)
		if f.Zero || m.have[i] {
			if err := m.passOver(i, f); err != nil {
				return err
			}
			continue
		}
		buf, err := q.buffer(ctx)
		if err != nil {
			return err
		}
		_, b, intact, err := d.ReadRecord(buf)
		if err == io.EOF {
			err = fmt.Errorf("%w: the delta ends before its last frame", bundle.ErrFormat)
		}
		if err != nil {
			return err
		}
		rec, err := delta.Parse(b, d.Limits(f))
		if !intact || err != nil {
			m.noteDamage()
			q.plain <- buf
			continue
		}
		// While the frames before it are made, the disk gets what this one needs.
		rec.Sources(m.old.Expect)
		select {
		case jobs <- deltaJob{i, rec, buf}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.progress(m.label, m.ir.Image().Size, m.ir.Image().Size)
	return nil
}

// passOver leaves out a frame that is in the slot, or is zeros.
func (m *making) passOver(i int, f bundle.Frame) error {
	m.done.Add(f.Len)
	if !f.Zero {
		_, err := m.ir.Delta().SkipRecord()
		return err
	}
	if m.w == nil || m.have[i] {
		return nil
	}
	if err := m.w.WriteZeros(f.Off, f.Len); err != nil {
		return writeError(f, err)
	}
	m.have[i] = true
	return nil
}

// make makes one frame and gives it to the slot if it is right.
func (m *making) make(ctx context.Context, maker *delta.Maker, j deltaJob, q *frameQueue) error {
	f := m.ir.Frames()[j.i]
	done := func() {
		m.done.Add(f.Len)
		q.plain <- j.buf
	}
	plain := j.buf[:f.Len]
	if maker.Make(plain, j.record) != nil || !f.Matches(plain) {
		done() // the old image is not what it was: missing tells
		return nil
	}
	m.have[j.i] = true // one worker for each frame
	if m.w == nil {
		done()
		return nil
	}
	return q.put(ctx, madeFrame{f, plain, done})
}

func (m *making) noteDamage() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.damaged++
}

// missing says why frames are missing, if any are.
func (m *making) missing() error {
	n, first := 0, int64(0)
	for i, f := range m.ir.Frames() {
		if !m.have[i] && !f.Zero {
			if n == 0 {
				first = f.Off
			}
			n++
		}
	}
	switch {
	case n == 0:
		return nil
	case m.damaged > 0:
		return withHint(fmt.Errorf("%w: the delta is damaged: %d frames are missing, the first at byte %d", bundle.ErrFormat, n, first),
			"fetch it again, or give the whole bundle too (--full SOURCE): only what is missing is taken from it")
	}
	return withHint(fmt.Errorf("%w: the running system has changed its slot since it was installed: the delta cannot make %d frames of it, the first at byte %d", bundle.ErrIncompatible, n, first),
		"give the whole bundle too (--full SOURCE): only what is missing is taken from it")
}

// newMaking returns a making of ir from the running slot.
func (u *Updater) newMaking(ir *bundle.ImageReader, w *partition.SlotWriter, held []bool, label string) (*making, error) {
	old, err := u.dev.readSlot(u.dev.Running)
	if err != nil {
		return nil, err
	}
	have := make([]bool, len(ir.Frames()))
	copy(have, held)
	return &making{progress: u.o.Progress, label: label, ir: ir, old: blockdev.Scatter(old), w: w, have: have}, nil
}

// fillByDelta writes the image by a delta, and what that cannot make from the
// whole bundle, if there is one.
func (u *Updater) fillByDelta(ctx context.Context, in *incoming, w *partition.SlotWriter, target blockdev.Device, held []bool, o ApplyOptions, done *Applied) (*filling, error) {
	m, err := u.newMaking(in.ir, w, held, "writing slot "+done.Slot.String())
	if err != nil {
		return nil, err
	}
	defer func() {
		done.BytesWritten, done.BytesReused = w.BytesWritten(), newRecipe(in.ir.Frames(), held).reused()
	}()
	if err := m.run(ctx); err != nil {
		return nil, err
	}
	err = m.missing()
	switch {
	case err == nil:
		return in.filling(u, w, newRecipe(in.ir.Frames(), m.have), m.label), in.bundle.finish()
	case o.Full == nil:
		return nil, err
	}
	u.o.Notice("%v; the rest is taken from %s", err, o.Full.Name())
	full, err := u.openFull(ctx, in, o)
	if err != nil {
		return nil, err
	}
	defer full.bundle.Close()
	f := full.filling(u, w, newRecipe(full.ir.Frames(), m.have), m.label)
	// A few frames are fetched alone; many are worth a search for their blocks.
	if needed := f.recipe.needed(); needed < scanWorth && full.bundle.hasRanges() {
		f.planRanges(merge(f.recipe.ranges(f.ir.Start()), maxRanges))
	} else if err := f.plan(ctx, full, target); err != nil {
		return nil, err
	}
	return f, f.run(ctx)
}

// verifyDelta makes all frames without writing them.
func (u *Updater) verifyDelta(ctx context.Context, ir *bundle.ImageReader, o ApplyOptions) error {
	m, err := u.newMaking(ir, nil, nil, "verifying "+ir.Image().Name)
	if err != nil {
		return err
	}
	if err := m.run(ctx); err != nil {
		return err
	}
	if err := m.missing(); err != nil && o.Full == nil {
		return err
	}
	return nil
}

// incoming is the image that goes into a slot, on its way from a source.
type incoming struct {
	src    source.Source
	bundle *openedBundle
	ir     *bundle.ImageReader
	want   *wanted
}

func (in *incoming) filling(u *Updater, w *partition.SlotWriter, r *recipe, label string) *filling {
	return &filling{u: u, src: in.src, bundle: in.bundle, ir: in.ir, w: w, recipe: r, label: label}
}

// openFull opens the whole bundle that a delta leads to. It must be signed for
// the same: what was promised is what gets installed.
func (u *Updater) openFull(ctx context.Context, in *incoming, o ApplyOptions) (*incoming, error) {
	b, err := u.openBundle(ctx, o.Full, o)
	if err != nil {
		return nil, fmt.Errorf("--full %s: %w", o.Full.Name(), err)
	}
	if !bytes.Equal(b.Manifest().Marshal(), in.bundle.Manifest().Marshal()) {
		return nil, errors.Join(withHint(fmt.Errorf("%w: --full %s is version %s, with other images than the delta leads to", bundle.ErrIncompatible, o.Full.Name(), b.Manifest().Version),
			"give the bundle that the delta was made for"), b.Close())
	}
	ir, want, err := b.rootImage()
	if err == nil && ir.Delta() != nil {
		err = fmt.Errorf("%w: --full %s is a delta too", bundle.ErrFormat, o.Full.Name())
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return &incoming{o.Full, b, ir, want}, nil
}

// suits holds a delta against what the running slot was installed from. Not
// known is no reason to refuse: the frames' hashes will tell.
func (u *Updater) suits(d *bundle.DeltaReader) error {
	m := u.facts.Slot(u.facts.Running).Manifest
	if m == nil {
		return nil
	}
	for _, img := range m.Images {
		if img.Name == rootImage && img.SHA256 != d.OldSHA256() {
			return withHint(fmt.Errorf("%w: the delta was made for devices that run another version than %s", bundle.ErrIncompatible, m.Version),
				"get the delta made from version "+m.Version+", or install the whole bundle")
		}
	}
	return nil
}
