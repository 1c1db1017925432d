package update

import (
	"context"
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
	hashes []bundle.BlockHash // of each block of the image; 0: zeros
	table  []sighting         // by hash, open addressing
}

// sighting is a hash and the place where a block with it was seen.
type sighting struct {
	block uint32        // 1 + the first block of the image with that hash; 0: free
	at    atomic.Uint32 // place
}

// place is a block on this device: 0 is nowhere; else 1 + its number in the
// running slot, or with inTarget set in the slot that is written. So the lower
// place is the better one: the running slot stays as it is.
type place uint32

const (
	inTarget     place = 1 << 31
	maxScanned         = int64(inTarget-1) * bundle.BlockSize // bytes of a slot
	maxSightings       = 3 << 19                              // bounds the table to 16 MiB
)

func (p place) offset() int64 { return (int64(p&^inTarget) - 1) * bundle.BlockSize }

// newWanted returns the table for an image; nil when it has so many blocks
// that the table would take too much of a small device's memory.
func newWanted(img bundle.Image) *wanted {
	if img.BlocksSize/8 > maxSightings || img.Size > maxScanned {
		return nil
	}
	return &wanted{hashes: make([]bundle.BlockHash, (img.Size+bundle.BlockSize-1)/bundle.BlockSize)}
}

// note takes a block, or a run of zeros, from the index of the image.
func (w *wanted) note(first, _ int64, h bundle.BlockHash) { w.hashes[first] = h }

// index makes the table, when all blocks are noted.
func (w *wanted) index() {
	n := 0
	for _, h := range w.hashes {
		if h != 0 {
			n++
		}
	}
	w.table = make([]sighting, n+n/3+1)
	for i, h := range w.hashes {
		if h == 0 {
			continue
		}
		if s := w.find(h); s.block == 0 {
			s.block = uint32(i) + 1
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
		if s.block == 0 || w.hashes[s.block-1] == h {
			return s
		}
	}
}

// seen takes note of a block at a place.
func (w *wanted) seen(h bundle.BlockHash, at place) {
	s := w.find(h)
	if s.block == 0 {
		return
	}
	for {
		old := s.at.Load()
		if old != 0 && old <= uint32(at) || s.at.CompareAndSwap(old, uint32(at)) {
			return
		}
	}
}

// where returns where the i-th block of the image was seen; 0 for one that was
// not. Blocks of zeros need no place: ask hashes first.
func (w *wanted) where(i int64) place { return place(w.find(w.hashes[i]).at.Load()) }

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
