package partition

import (
	"context"
	"fmt"
	"hash"
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
	// Zero says that the hash is that of zeros: then comparing does, which
	// takes a tenth of the time.
	Zero bool
}

// checker compares bytes that come one after the other with a piece.
type checker struct {
	p     Piece
	hash  hash.Hash // nil: zeros are expected
	wrong bool
}

func (p Piece) checker() *checker {
	if p.Zero {
		return &checker{p: p}
	}
	return &checker{p: p, hash: sha256.New()}
}

// add returns ErrReadBack when it is certain already that b does not belong.
func (c *checker) add(b []byte) error {
	if c.hash != nil {
		c.hash.Write(b)
		return nil
	}
	c.wrong = c.wrong || !isZero(b)
	return c.verdict(!c.wrong)
}

func (c *checker) done() error {
	if c.hash != nil {
		c.wrong = [sha256.Size]byte(c.hash.Sum(nil)) != c.p.SHA256
	}
	return c.verdict(!c.wrong)
}

func (c *checker) verdict(right bool) error {
	if right {
		return nil
	}
	return &MismatchError{c.p.Off, c.p.Len}
}

// MismatchError is the ErrReadBack of one piece.
type MismatchError struct{ Off, Len int64 }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("bytes [%d, %d) of the slot: %v", e.Off, e.Off+e.Len, ErrReadBack)
}

// Unwrap makes it an ErrReadBack.
func (e *MismatchError) Unwrap() error { return ErrReadBack }

// verifiers bounds how many pieces are read at once: enough to keep a disk
// and the processors busy, at one buffer of a MiB each.
const verifiers = 4

// Probe asks Holds for each piece, several at a time, and returns the answers.
// progress is as in Verify, with the number of bytes looked at.
func (s *SlotWriter) Probe(ctx context.Context, pieces []Piece, progress func(done int64)) ([]bool, error) {
	held := make([]bool, len(pieces))
	err := eachPiece(ctx, pieces, progress, func(ctx context.Context, i int) (err error) {
		held[i], err = s.Holds(pieces[i])
		return err
	})
	return held, err
}

// Verify reads the whole slot back, past the page cache where the device can,
// and compares it with pieces, which must cover the image in order. progress
// gets the number of bytes that were right so far; nil is no progress. Calls
// of progress do not overlap.
//
// Where nothing was written at all, what Holds has read and found right is not
// read again.
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
	return eachPiece(ctx, pieces, progress, func(ctx context.Context, i int) error {
		if !s.begun && s.found[pieces[i].Off] {
			return nil
		}
		return s.verifyPiece(ctx, pieces[i])
	})
}

// eachPiece calls do for each piece, for several at once.
func eachPiece(ctx context.Context, pieces []Piece, progress func(done int64), do func(ctx context.Context, i int) error) error {
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
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := do(ctx, int(i)); err != nil {
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
	c := p.checker()
	err := s.read(p.Off, p.Off+p.Len, func(_ int64, b []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return c.add(b)
	})
	if err != nil {
		return err
	}
	return c.done()
}
