package update

import (
	"context"
	"iter"
	"math/bits"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
)

// wanted is what the blocks of an image look like, and where on this device
// they were seen. Hashes of 8 bytes find blocks; they prove nothing.
type wanted struct {
	words []bundle.BlockHash // the block index: hashes, and 0 before the length of a run of zero blocks
	table []sighting         // by hash, open addressing
}

// sighting is a hash and the place where a block with it was seen.
type sighting struct {
	word uint32        // 1 + the first of words with that hash; 0: free
	at   atomic.Uint32 // place
}

// place is a block on this device: 0 is nowhere; else 1 + its number in the
// running slot, or with inTarget set in the slot that is written. So the lower
// place is the better one: the running slot stays as it is.
type place uint32

const (
	inTarget   place = 1 << 31
	maxScanned       = int64(inTarget-1) * bundle.BlockSize // bytes of a slot
	maxWords         = 3 << 19                              // bounds words to 12 MiB and the table to 16
)

func (p place) offset() int64 { return (int64(p&^inTarget) - 1) * bundle.BlockSize }

// newWanted returns the table for an image; nil when it has so many blocks
// that the table would take too much of a small device's memory.
func newWanted(img bundle.Image) *wanted {
	n := img.BlocksSize / 8
	if n > maxWords {
		return nil
	}
	return &wanted{words: make([]bundle.BlockHash, 0, n)}
}

// note takes a block, or a run of zeros, from the index of the image.
func (w *wanted) note(_, n int64, h bundle.BlockHash) {
	w.words = append(w.words, h)
	if h == 0 {
		w.words = append(w.words, bundle.BlockHash(n))
	}
}

// blocks yields the hash of each block of the image, 0 for zeros, and which of
// the words it is.
func (w *wanted) blocks() iter.Seq2[int, bundle.BlockHash] {
	return func(yield func(int, bundle.BlockHash) bool) {
		for i := 0; i < len(w.words); i++ {
			h, n := w.words[i], bundle.BlockHash(1)
			if h == 0 {
				i++
				n = w.words[i]
			}
			for range n {
				if !yield(i, h) {
					return
				}
			}
		}
	}
}

// index makes the table, when all blocks are noted.
func (w *wanted) index() {
	w.table = make([]sighting, len(w.words)+len(w.words)/3+1)
	for i, h := range w.blocks() {
		if h == 0 {
			continue
		}
		if s := w.find(h); s.word == 0 {
			s.word = uint32(i) + 1
		}
	}
}

// find returns the entry of a hash, or the free one where it would be. The
// table is never full.
func (w *wanted) find(h bundle.BlockHash) *sighting {
	hi, _ := bits.Mul64(uint64(h), uint64(len(w.table)))
	for i := int(hi); ; i++ {
		if i == len(w.table) {
			i = 0
		}
		s := &w.table[i]
		if s.word == 0 || w.words[s.word-1] == h {
			return s
		}
	}
}

// seen takes note of a block at a place.
func (w *wanted) seen(h bundle.BlockHash, at place) {
	s := w.find(h)
	if s.word == 0 {
		return
	}
	for {
		old := s.at.Load()
		if old != 0 && old <= uint32(at) || s.at.CompareAndSwap(old, uint32(at)) {
			return
		}
	}
}

// where returns where a block of the image with that hash, which is not 0, was
// seen; 0 for nowhere.
func (w *wanted) where(h bundle.BlockHash) place { return place(w.find(h).at.Load()) }

// scan looks at the blocks of dev from byte from on; slot is 0 or inTarget.
// What cannot be read is not there.
func (w *wanted) scan(ctx context.Context, dev blockdev.Device, from int64, slot place, progress func(done, total int64)) error {
	const chunk = 1 << 20
	end := min(dev.Size(), maxScanned) / bundle.BlockSize * bundle.BlockSize
	var next, done atomic.Int64
	next.Store(from)
	g, ctx := errgroup.WithContext(ctx)
	for first := range min(4, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			buf := blockdev.AlignedBuffer(chunk)
			for {
				at := next.Add(chunk) - chunk
				if at >= end {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				b := buf[:min(chunk, end-at)]
				if _, err := dev.ReadAt(b, at); err == nil {
					w.look(b, at, slot)
				}
				if n := done.Add(int64(len(b))); first == 0 {
					progress(n, end-from)
				}
			}
		})
	}
	return g.Wait()
}

// look hashes the blocks of b, which lie at byte at.
func (w *wanted) look(b []byte, at int64, slot place) {
	for ; len(b) > 0; b, at = b[bundle.BlockSize:], at+bundle.BlockSize {
		if h := bundle.HashBlock(b[:bundle.BlockSize]); h != 0 {
			w.seen(h, slot|place(at/bundle.BlockSize+1))
		}
	}
}
