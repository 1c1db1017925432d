package delta

// rangeCoder is a binary arithmetic coder without carries. One type codes in
// both directions, so that encoder and decoder cannot disagree about a model.
//
// Invariant: low <= high, and they differ in their first byte.
type rangeCoder struct {
	low, high uint32
	decoding  bool
	x         uint32 // decoding: the code at low's scale
	in        []byte // decoding: what is left
	missing   int    // decoding: bytes read beyond the end, as zeros
	out       []byte // encoding
}

func newEncoder() *rangeCoder { return &rangeCoder{high: 1<<32 - 1} }

func newDecoder(in []byte) *rangeCoder {
	c := &rangeCoder{high: 1<<32 - 1, decoding: true, in: in}
	for range 4 {
		c.x = c.x<<8 | c.next()
	}
	return c
}

// next returns the next byte of the code. What is missing reads as zeros: the
// caller ends by the length of its output, and finished tells.
func (c *rangeCoder) next() uint32 {
	if len(c.in) == 0 {
		c.missing++
		return 0
	}
	b := c.in[0]
	c.in = c.in[1:]
	return uint32(b)
}

// code codes one bit whose probability of being 1 is p/65536, 0 < p < 65536.
// It returns the bit; when decoding, the argument is ignored.
func (c *rangeCoder) code(bit int, p uint32) int {
	mid := c.low + uint32(uint64(c.high-c.low)*uint64(p)>>16)
	if c.decoding {
		bit = 0
		if c.x <= mid {
			bit = 1
		}
	}
	if bit != 0 {
		c.high = mid
	} else {
		c.low = mid + 1
	}
	for (c.low^c.high)>>24 == 0 {
		c.shift()
	}
	return bit
}

func (c *rangeCoder) shift() {
	if c.decoding {
		c.x = c.x<<8 | c.next()
	} else {
		c.out = append(c.out, byte(c.high>>24))
	}
	c.low <<= 8
	c.high = c.high<<8 | 0xff
}

// finish returns the code. Four bytes of low settle the last bits.
func (c *rangeCoder) finish() []byte {
	return append(c.out, byte(c.low>>24), byte(c.low>>16), byte(c.low>>8), byte(c.low))
}

// finished reports whether the decoder used its input, all of it and no more.
func (c *rangeCoder) finished() bool { return len(c.in) == 0 && c.missing == 0 }
