package delta

import "math/bits"

// decodeWords is decodeNibble in Go: what it does on processors other than
// amd64, and what the other way is tested against.
func decodeWords(c *coder, a, b *nibbles) int {
	below := mix(a, b)
	// The nibble is the last one that the state is not below of. No number
	// reaches the top bit of its 16, so none borrows from the next.
	at := c.x&lowMask*lanes | tops
	n := (at-below[0])&tops>>15 | (at-below[1])&tops>>14 | (at-below[2])&tops>>13 | (at-below[3])&tops>>12
	v := bits.OnesCount64(n) - 1
	start, end := part(&below, v)
	c.pass(start, end-start)
	a.learn(v)
	b.learn(v)
	return v
}
