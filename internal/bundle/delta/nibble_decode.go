package delta

import "math/bits"

// wordsNibble is (*coder).nibble for a decoder, in Go: what is done on processors
// without AVX2, and what the other way is tested against.
func wordsNibble(c *coder, a, b *nibbles) int {
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

// wordsSymbol decodes a token by the contexts a and b, and if it is a literal its
// byte by p and o: byte<<4 | token. The first nibble of a byte goes by the 0th of
// them, the second by one that the first chooses.
func wordsSymbol(c *coder, a, b *nibbles, p, o *[17]nibbles) int {
	if token := wordsNibble(c, a, b); token != tokenLiteral {
		return token
	}
	high := wordsNibble(c, &p[0], &o[0])
	low := wordsNibble(c, &p[1+high&15], &o[1+high&15])
	return (high<<4 | low) << 4 // and tokenLiteral, which is 0
}
