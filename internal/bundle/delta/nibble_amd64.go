package delta

// decodeNibble is (*coder).nibble for a decoder.
//
//go:noescape
func decodeNibble(c *coder, a, b *nibbles) int

// decodePair is (*coder).pair for a decoder.
//
//go:noescape
func decodePair(c *coder, a, b *[17]nibbles) int
