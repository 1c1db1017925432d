package delta

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"
)

// similar finds where in the old image there are bytes like given ones, by
// fingerprints of short strings. Which strings are taken is decided by the
// strings themselves, so a piece that moved has the same ones.
type similar struct {
	heads    []int32 // by fingerprint: 1 + index of the last print
	prints   []print
	granules int64 // whole ones in the old image
}

type print struct {
	mark  uint32
	block uint32 // of the old image
	prev  int32  // 1 + the one before with the same head
}

const (
	markLen    = 16 // bytes of a string
	markEvery  = 64 // one string of so many is taken
	markChain  = 16
	headBits   = 22
	granuleLen = 4 // blocks that are taken together

	granuleBytes = granuleLen * BlockSize
)

// marks calls fn for each fingerprint in b.
func marks(b []byte, fn func(at int, mark uint32)) {
	for i := 0; i+markLen <= len(b); i++ {
		x := binary.LittleEndian.Uint64(b[i:])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(b[i+8:])*0xc2b2ae3d27d4eb4f
		x ^= x >> 29
		x *= 0x165667b19e3779f9
		if x>>32%markEvery == 0 {
			fn(i, uint32(x)^uint32(x>>37))
		}
	}
}

func headOf(mark uint32) uint32 { return mark * 0x9e3779b1 >> (32 - headBits) }

func indexSimilar(old io.ReaderAt, size int64, take func(block int64) bool) (*similar, error) {
	blocks := (size + BlockSize - 1) / BlockSize
	s := &similar{heads: make([]int32, 1<<headBits), granules: blocks / granuleLen}
	m := NewMaker(old, size, Limits{})
	buf := make([]byte, 256*BlockSize)
	for first := int64(0); first < blocks; {
		if !take(first) {
			first++
			continue
		}
		n := int64(1)
		for n < 256 && first+n < blocks && take(first+n) {
			n++
		}
		b := buf[:n*BlockSize]
		if err := m.read(b, first); err != nil {
			return nil, err
		}
		last := uint32(0)
		marks(b, func(at int, mark uint32) {
			if mark == last {
				return // a row of equal bytes
			}
			last = mark
			h := headOf(mark)
			s.prints = append(s.prints, print{mark, uint32(first + int64(at/BlockSize)), s.heads[h]})
			s.heads[h] = int32(len(s.prints))
		})
		first += n
	}
	return s, nil
}

// find calls fn for blocks that have a fingerprint.
func (s *similar) find(mark uint32, fn func(block uint32)) {
	at := s.heads[headOf(mark)]
	for n := 0; at != 0 && n < markChain; at = s.prints[at-1].prev {
		if p := s.prints[at-1]; p.mark == mark {
			fn(p.block)
			n++
		}
	}
}

// pieces returns at most limit blocks of the old image that are like b.
func (s *similar) pieces(b []byte, limit int64) []piece {
	votes := make([]float32, s.granules+1)
	var found []uint32 // for each fingerprint: how many granules have it, and these
	marks(b, func(_ int, mark uint32) {
		at := len(found)
		found = append(found, 0)
		s.find(mark, func(block uint32) {
			if g := block / granuleLen; !slices.Contains(found[at+1:], g) {
				found = append(found, g)
			}
		})
		n := len(found) - at - 1
		found[at] = uint32(n)
		for _, g := range found[at+1:] {
			votes[g] += 1 / float32(n)
		}
	})
	// What could be of several places belongs to the one that has most.
	hits := make([]int, s.granules+2)
	for len(found) > 0 {
		n := found[0]
		set := found[1 : 1+n]
		found = found[1+n:]
		if n == 0 {
			continue
		}
		most := set[0]
		for _, g := range set[1:] {
			if votes[g] > votes[most] || votes[g] == votes[most] && g < most {
				most = g
			}
		}
		hits[most]++
	}
	return s.choose(hits, limit)
}

// choose takes the granules with the most hits, and what lies beside them.
func (s *similar) choose(hits []int, limit int64) []piece {
	type granule struct{ at, hits int }
	var order []granule
	for g, n := range hits[:s.granules] {
		switch beside := max(hits[g+1], hits[max(g-1, 0)]); {
		case n > 0:
			order = append(order, granule{g, n * 16})
		case beside >= 4:
			order = append(order, granule{g, beside})
		}
	}
	slices.SortFunc(order, func(a, b granule) int {
		return cmp.Or(cmp.Compare(b.hits, a.hits), cmp.Compare(a.at, b.at))
	})
	taken := order[:min(len(order), int(limit/granuleLen))]
	list := make([]int, len(taken))
	for i, g := range taken {
		list[i] = g.at
	}
	return joined(list)
}

// joined makes pieces of granules.
func joined(granules []int) []piece {
	slices.Sort(granules)
	var out []piece
	for _, g := range granules {
		from := int64(g) * granuleLen
		if n := len(out); n > 0 && out[n-1].from+out[n-1].count == from {
			out[n-1].count += granuleLen
			continue
		}
		out = append(out, piece{from, granuleLen})
	}
	return out
}

// mostUsed returns at most limit blocks of those of a dictionary that were
// used: used counts the bytes of each of its granules.
func mostUsed(pieces []piece, used []int, limit int64) []piece {
	type granule struct{ at, used int }
	var order []granule
	for _, p := range pieces {
		for at := p.from; at < p.from+p.count; at += granuleLen {
			if used[0] > 0 {
				order = append(order, granule{int(at / granuleLen), used[0]})
			}
			used = used[1:]
		}
	}
	slices.SortFunc(order, func(a, b granule) int {
		return cmp.Or(cmp.Compare(b.used, a.used), cmp.Compare(a.at, b.at))
	})
	list := make([]int, min(len(order), int(limit/granuleLen)))
	for i := range list {
		list[i] = order[i].at
	}
	return joined(list)
}
