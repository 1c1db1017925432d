package partition

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/minio/sha256-simd"
	"golang.org/x/sync/errgroup"
)

// Piece is a piece of an image and its signed hash.
type Piece struct {
	Off, Len int64
	SHA256   [sha256.Size]byte
}

// verifiers bounds how many pieces are read at once: enough to keep a disk
// and the processors busy, at one buffer of a MiB each.
const verifiers = 4

// Verify reads the whole slot back, past the page cache where the device can,
// and compares it with pieces, which must cover the image in order. progress
// gets the number of bytes that were right so far; nil is no progress. Calls
// of progress do not overlap.
func (s *SlotWriter) Verify(ctx context.Context, pieces []Piece, progress func(done int64)) error {
	end := int64(0)
	for _, p := range pieces {
		if p.Off != end || p.Len <= 0 || p.Len > s.size-end {
			return fmt.Errorf("internal error: verifying bytes [%d, %d) after %d of %d", p.Off, p.Off+p.Len, end, s.size)
		}
		end += p.Len
	}
	if end != s.size {
		return fmt.Errorf("internal error: verifying %d bytes of %d", end, s.size)
	}
	var next, done atomic.Int64
	var reporting sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for range min(verifiers, runtime.GOMAXPROCS(0), len(pieces)) {
		g.Go(func() error {
			for {
				i := next.Add(1) - 1
				if i >= int64(len(pieces)) {
					return nil
				}
				if err := s.verifyPiece(ctx, pieces[i]); err != nil {
					return err
				}
				reporting.Lock()
				total := done.Add(pieces[i].Len)
				if progress != nil {
					progress(total)
				}
				reporting.Unlock()
			}
		})
	}
	return g.Wait()
}

func (s *SlotWriter) verifyPiece(ctx context.Context, p Piece) error {
	h := sha256.New()
	err := s.read(p.Off, p.Off+p.Len, func(_ int64, b []byte) error {
		h.Write(b)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if [sha256.Size]byte(h.Sum(nil)) != p.SHA256 {
		return fmt.Errorf("bytes [%d, %d) of the slot: %w", p.Off, p.Off+p.Len, ErrReadBack)
	}
	return nil
}
