package delta

import (
	"encoding/binary"
	"math"
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
	in       []byte     // decoding: the code
	at       int        // decoding: how much of it has been read, and of zeros behind it
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
func (c *coder) next() (v uint32) {
	if c.at+4 <= len(c.in) {
		v = binary.LittleEndian.Uint32(c.in[c.at:])
	}
	c.at += 4
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
func (c *coder) finished() bool { return c.at == len(c.in) && c.x == lowest }

// spent reports whether the decoder has read more than there is.
func (c *coder) spent() bool { return c.at > len(c.in) }

// nibble codes four bits by what two contexts have seen, half by each. One that
// has seen nothing is not heard.
func (c *coder) nibble(v int, a, b *nibbles) int {
	switch {
	case c.decoding && wide:
		return wideNibble(c, a, b)
	case c.decoding:
		return wordsNibble(c, a, b)
	}
	below := mix(a, b)
	start, end := part(&below, v)
	c.note(start, end-start)
	a.learn(v)
	b.learn(v)
	return v
}

// mix returns what two contexts together know, as numbers in 1/1<<totalBits:
// four words hold 16 of them side by side, which are added like that.
func mix(a, b *nibbles) (below [5]uint64) {
	if b[0]&seenMask == 0 {
		b = a
	} else if a[0]&seenMask == 0 {
		a = b
	}
	const above = math.MaxUint64 - 0xffff // the 0th number is not one
	below[0] = a[0]&above + b[0]&above + floor[0]
	below[1] = a[1] + b[1] + floor[1]
	below[2] = a[2] + b[2] + floor[2]
	below[3] = a[3] + b[3] + floor[3]
	below[4] = 1 << totalBits
	return below
}

// part returns where nibble v begins and ends.
func part(below *[5]uint64, v int) (start, end uint32) {
	start = uint32(below[v>>2&3]>>(v&3*16)) & 0xffff
	end = uint32(below[uint(v+1)>>2%5]>>((v+1)&3*16)) & 0xffff
	return start, end
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
