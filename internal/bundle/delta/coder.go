package delta

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// coder codes nibbles, four bits at a time, into bytes (rANS: asymmetric
// numeral systems with a state of 64 bits, 32 of which move at once). One type
// codes in both directions, so that encoder and decoder cannot disagree about a
// model: what is coded is an argument when encoding, a result always.
//
// A decoder gets nibbles in the order in which they were coded; an encoder
// works backwards, so it notes the intervals and codes them at the end.
type coder struct {
	decoding bool
	x        uint64     // decoding: the state, at least lowest but for a bad code
	in       []byte     // decoding: what is left
	missing  int        // decoding: bytes read beyond the end, as zeros
	steps    []interval // encoding
}

// interval is a part of [0, 1<<totalBits): the wider, the fewer bits it costs.
type interval struct{ start, width uint16 }

const (
	totalBits = 15
	lowest    = 1 << 31
	lowMask   = 1<<totalBits - 1
)

func (c *coder) startEncoding() { *c = coder{steps: c.steps[:0]} }

func (c *coder) startDecoding(in []byte) {
	*c = coder{decoding: true, in: in}
	c.x = uint64(c.next())<<32 | uint64(c.next())
}

// next returns the next bytes of the code. What is missing reads as zeros: the
// caller ends by the length of its output, and finished tells.
func (c *coder) next() uint32 {
	if len(c.in) < 4 {
		c.missing += 4 - len(c.in)
		c.in = nil
		return 0
	}
	v := binary.LittleEndian.Uint32(c.in)
	c.in = c.in[4:]
	return v
}

// pass takes the interval that the state is in out of the state.
func (c *coder) pass(start, width uint32) {
	c.x = uint64(width)*(c.x>>totalBits) + c.x&lowMask - uint64(start)
	if c.x < lowest {
		c.x = c.x<<32 | uint64(c.next())
	}
}

func (c *coder) note(start, width uint32) {
	c.steps = append(c.steps, interval{uint16(start), uint16(width)})
}

// finish returns the code: pass, undone from the last interval to the first.
func (c *coder) finish() []byte {
	x := uint64(lowest)
	var words []uint32
	for i := len(c.steps) - 1; i >= 0; i-- {
		start, width := uint64(c.steps[i].start), uint64(c.steps[i].width)
		if x >= width<<(63-totalBits) {
			words = append(words, uint32(x))
			x >>= 32
		}
		x = x/width<<totalBits + x%width + start
	}
	words = append(words, uint32(x), uint32(x>>32))
	out := make([]byte, 0, 4*len(words))
	for i := len(words) - 1; i >= 0; i-- {
		out = binary.LittleEndian.AppendUint32(out, words[i])
	}
	return out
}

// finished reports whether the decoder used its input, all of it and no more.
func (c *coder) finished() bool { return len(c.in) == 0 && c.missing == 0 && c.x == lowest }

// nibble codes four bits by what two contexts have seen, half by each. One that
// has seen nothing is not heard. Written out, because most of the time of a
// decoder goes by here: the four words of a context hold 16 numbers side by
// side, and are added and compared like that.
func (c *coder) nibble(v int, a, b *nibbles) int {
	p, q := a, b
	if q[0]&seenMask == 0 {
		q = p
	} else if p[0]&seenMask == 0 {
		p = q
	}
	const above = math.MaxUint64 - 0xffff // the 0th number is not one
	var below [5]uint64
	below[0] = p[0]&above + q[0]&above + floor[0]
	below[1] = p[1] + q[1] + floor[1]
	below[2] = p[2] + q[2] + floor[2]
	below[3] = p[3] + q[3] + floor[3]
	below[4] = 1 << totalBits
	if c.decoding {
		// The nibble is the last one that the state is not below of. No number
		// reaches the top bit of its 16, so none borrows from the next.
		at := c.x&lowMask*lanes | tops
		n := (at-below[0])&tops>>15 | (at-below[1])&tops>>14 | (at-below[2])&tops>>13 | (at-below[3])&tops>>12
		v = bits.OnesCount64(n) - 1
	}
	start := uint32(below[v>>2&3]>>(v&3*16)) & 0xffff
	end := uint32(below[uint(v+1)>>2%5]>>((v+1)&3*16)) & 0xffff
	if c.decoding {
		c.pass(start, end-start)
	} else {
		c.note(start, end-start)
	}
	a.learn(v)
	b.learn(v)
	return v
}

// flat codes n bits that nothing is known of.
func (c *coder) flat(v, n int) int {
	out := 0
	for n > 0 {
		k := min(n, 8)
		n -= k
		width := uint32(1) << (totalBits - k)
		b := uint32(v>>n) & (1<<k - 1)
		if c.decoding {
			b = uint32(c.x&lowMask) >> (totalBits - k)
			c.pass(b*width, width)
		} else {
			c.note(b*width, width)
		}
		out = out<<k | int(b)
	}
	return out
}
