package delta

import "github.com/klauspost/cpuid/v2"

// wide says that this processor has the instructions of nibble_amd64.s.
var wide = cpuid.CPU.Supports(cpuid.AVX2, cpuid.BMI1)

// wideNibble is wordsNibble.
//
//go:noescape
func wideNibble(c *coder, a, b *nibbles) int

// wideSymbol is wordsSymbol.
//
//go:noescape
func wideSymbol(c *coder, a, b *nibbles, p, o *[17]nibbles) int
