package logwrites

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// Piece is what has reached the disk of an entry: its first Len bytes.
type Piece struct {
	Entry int
	Len   int64
}

// Cut is a disk after a power cut: everything before entry Durable, because a
// flush has covered it, and then these pieces, which reached the disk in this
// order.
type Cut struct {
	Durable int
	Pieces  []Piece
}

// String says which one it is, for a failed test.
func (c Cut) String() string {
	if len(c.Pieces) == 0 {
		return fmt.Sprintf("cut after %d entries", c.Durable)
	}
	return fmt.Sprintf("cut after %d entries and %d pieces %v", c.Durable, len(c.Pieces), c.Pieces)
}

// Disk is what a replay writes to.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// Flushed returns how many of the first n entries a flush among them covers.
func (l *Log) Flushed(n int) int {
	for n > 0 && !l.Entries[n-1].Durable() {
		n--
	}
	return n
}

// Settle returns up to count cuts after n entries that are no prefix of the
// log: the disk has kept some of the writes since the last flush, in another
// order, and the last one of them perhaps torn at a sector.
func (l *Log) Settle(n, count int, rng *rand.Rand) []Cut {
	durable := l.Flushed(n)
	var since []Piece
	for i := durable; i < n; i++ {
		if e := l.Entries[i]; e.Len > 0 {
			since = append(since, Piece{i, e.Len})
		}
	}
	if len(since) == 0 || len(since) == 1 && since[0].Len == l.SectorSize {
		return nil // it is there or not: both are prefixes
	}
	var cuts []Cut
	for range count {
		cuts = append(cuts, Cut{durable, l.settle(since, rng)})
	}
	return cuts
}

// settle draws a subset in random order whose last piece may be torn.
func (l *Log) settle(since []Piece, rng *rand.Rand) []Piece {
	chance := []float64{0.1, 0.5, 0.9}[rng.IntN(3)]
	var kept []Piece
	for _, i := range rng.Perm(len(since)) {
		if rng.Float64() < chance {
			kept = append(kept, since[i])
		}
	}
	if len(kept) == 0 {
		kept = append(kept, since[len(since)-1])
	}
	last := &kept[len(kept)-1]
	if sectors := last.Len / l.SectorSize; sectors > 1 && rng.IntN(2) == 0 {
		last.Len = (1 + rng.Int64N(sectors-1)) * l.SectorSize
	}
	return kept
}

// Replay makes a copy of the disk as it was before into the disk after a cut.
func (l *Log) Replay(c Cut, disk io.WriterAt) error {
	for i := range c.Durable {
		if err := l.Apply(i, disk); err != nil {
			return err
		}
	}
	for _, p := range c.Pieces {
		if err := l.ApplyTorn(p.Entry, disk, p.Len); err != nil {
			return err
		}
	}
	return nil
}

// Try lets the pieces of a cut reach a disk that everything before them has
// reached. The function that it returns takes them back.
func (l *Log) Try(c Cut, disk Disk) (undo func() error, err error) {
	type content struct {
		off  int64
		data []byte
	}
	var old []content
	undo = func() error {
		var errs []error
		for i := len(old) - 1; i >= 0; i-- {
			_, err := disk.WriteAt(old[i].data, old[i].off)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	for _, p := range c.Pieces {
		e := content{l.Entries[p.Entry].Off, make([]byte, p.Len)}
		if _, err := disk.ReadAt(e.data, e.off); err != nil {
			return undo, fmt.Errorf("keeping what write %d replaces: %w", p.Entry, err)
		}
		old = append(old, e)
		if err := l.ApplyTorn(p.Entry, disk, p.Len); err != nil {
			return undo, err
		}
	}
	return undo, nil
}
