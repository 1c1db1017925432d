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

	"github.com/abupdate/abupdate/internal/sha256x2"
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

// verifiers bounds how many goroutines read: enough to keep a disk and the
// processors busy, at two buffers of a MiB each.
const verifiers = 4

// Probe asks Holds for each piece, several at a time, and returns the answers.
// progress is as in Verify, with the number of bytes looked at.
func (s *SlotWriter) Probe(ctx context.Context, pieces []Piece, progress func(done int64)) ([]bool, error) {
	held := make([]bool, len(pieces))
	err := each(ctx, len(pieces), progress, func(ctx context.Context, i int) (n int64, err error) {
		held[i], err = s.Holds(pieces[i])
		return pieces[i].Len, err
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
	units := s.units(pieces)
	return each(ctx, len(units), progress, func(ctx context.Context, i int) (int64, error) {
		return s.verify(ctx, units[i])
	})
}

// units puts pieces together that are read side by side, two of them because
// two hashes take little longer than one. Zeros are not hashed.
func (s *SlotWriter) units(pieces []Piece) (units [][]Piece) {
	half := -1
	for i, p := range pieces {
		switch {
		case p.Zero || !s.begun && s.found[p.Off]:
			units = append(units, pieces[i:i+1])
		case half < 0:
			half, units = len(units), append(units, []Piece{p})
		default:
			units[half] = append(units[half], p)
			half = -1
		}
	}
	return units
}

func (s *SlotWriter) verify(ctx context.Context, unit []Piece) (n int64, err error) {
	switch {
	case len(unit) == 2:
		return unit[0].Len + unit[1].Len, s.verifyTwo(ctx, unit[0], unit[1])
	case !s.begun && s.found[unit[0].Off]:
		return unit[0].Len, nil
	default:
		return unit[0].Len, s.verifyOne(ctx, unit[0])
	}
}

// each calls do for each of so many units, for several at once. do returns how
// many bytes its unit has.
func each(ctx context.Context, units int, progress func(done int64), do func(ctx context.Context, i int) (n int64, err error)) error {
	var next, done atomic.Int64
	var reporting sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for range min(verifiers, runtime.GOMAXPROCS(0), units) {
		g.Go(func() error {
			for {
				i := int(next.Add(1) - 1)
				if i >= units {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				n, err := do(ctx, i)
				if err != nil {
					return err
				}
				reporting.Lock()
				total := done.Add(n)
				if progress != nil {
					progress(total)
				}
				reporting.Unlock()
			}
		})
	}
	return g.Wait()
}

func (s *SlotWriter) verifyTwo(ctx context.Context, p, q Piece) error {
	bufs := s.buffers.Get().(*[2][]byte)
	defer s.buffers.Put(bufs)
	h := sha256x2.New()
	for at := int64(0); at < max(p.Len, q.Len); at += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		a, err := s.part(bufs[0], p.Off+at, p.Off+p.Len)
		if err != nil {
			return err
		}
		b, err := s.part(bufs[1], q.Off+at, q.Off+q.Len)
		if err != nil {
			return err
		}
		h.Write(a, b)
	}
	sumP, sumQ := h.Sum()
	if sumP != p.SHA256 {
		return &MismatchError{p.Off, p.Len}
	}
	if sumQ != q.SHA256 {
		return &MismatchError{q.Off, q.Len}
	}
	return nil
}

func (s *SlotWriter) verifyOne(ctx context.Context, p Piece) error {
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
