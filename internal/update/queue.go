package update

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
)

// frameQueue lies between those who make frames and the slot, so that the
// processors go on while the disk writes. It has one buffer more than there
// are makers, if frames are not too large for that.
type frameQueue struct {
	w     *partition.SlotWriter
	plain chan []byte // buffers for one frame each
	queue chan madeFrame
}

// madeFrame is a frame that is right.
type madeFrame struct {
	bundle.Frame
	plain []byte
	// done is called when it has been written.
	done func()
}

// writers is how many frames are given to the disk at once.
const writers = 2

func newFrameQueue(w *partition.SlotWriter, frameSize int64, makers int) *frameQueue {
	buffers := max(makers, min(makers+1, int(frameMemory/(2*frameSize))))
	q := &frameQueue{w: w, plain: make(chan []byte, buffers), queue: make(chan madeFrame)}
	for _, b := range blockdev.AlignedBuffers(buffers, int(frameSize)) {
		q.plain <- b
	}
	return q
}

// run adds to g makers goroutines that make frames, and those that write them: g is
// done when all are written.
func (q *frameQueue) run(ctx context.Context, g *errgroup.Group, makers int, makeFrames func() error) {
	var working sync.WaitGroup
	working.Add(makers)
	for range makers {
		g.Go(func() error {
			defer working.Done()
			return makeFrames()
		})
	}
	for range writers {
		g.Go(func() error { return q.write(ctx) })
	}
	g.Go(func() error {
		working.Wait()
		close(q.queue)
		return nil
	})
}

// buffer returns one for a frame.
func (q *frameQueue) buffer(ctx context.Context) ([]byte, error) {
	select {
	case b := <-q.plain:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// put queues a frame.
func (q *frameQueue) put(ctx context.Context, m madeFrame) error {
	select {
	case q.queue <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *frameQueue) write(ctx context.Context) error {
	for m := range q.queue {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeFrame(q.w, m.Frame, m.plain); err != nil {
			return err
		}
		m.done()
	}
	return nil
}

func writeFrame(w *partition.SlotWriter, f bundle.Frame, plain []byte) error {
	if err := w.WriteFrame(f.Off, plain); err != nil {
		return writeError(f, err)
	}
	return nil
}

func writeError(f bundle.Frame, err error) error {
	return fmt.Errorf("%w: bytes [%d, %d): %w", ErrWrite, f.Off, f.Off+f.Len, err)
}
