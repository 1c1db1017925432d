//go:build !amd64

package delta

func decodeNibble(c *coder, a, b *nibbles) int { return decodeWords(c, a, b) }

// decodePair is (*coder).pair for a decoder.
func decodePair(c *coder, a, b *[17]nibbles) int {
	high := decodeWords(c, &a[0], &b[0])
	return high<<4 | decodeWords(c, &a[1+high&15], &b[1+high&15])
}
