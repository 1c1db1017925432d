//go:build !amd64

package delta

const wide = false

func wideNibble(*coder, *nibbles, *nibbles) int { panic("internal error: no AVX2") }

func wideSymbol(*coder, *nibbles, *nibbles, *[17]nibbles, *[17]nibbles) int {
	panic("internal error: no AVX2")
}
