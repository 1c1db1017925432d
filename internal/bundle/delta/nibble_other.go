//go:build !amd64

package delta

const wide = false

func wideNibble(*coder, *nibbles, *nibbles) int { panic("not here") }

func wideSymbol(*coder, *nibbles, *nibbles, *[17]nibbles, *[17]nibbles) int { panic("not here") }
