package sha256x2

import "github.com/klauspost/cpuid/v2"

// twice says that this processor has the instructions of blocks2.
var twice = cpuid.CPU.Supports(cpuid.SHA, cpuid.SSSE3, cpuid.SSE4)

// blocks2 does n blocks of 64 bytes, at least one, of two messages: those at a
// into the first state, those at b into the second. The order of the
// instructions is that of Intel's manual of the SHA extensions.
//
//go:noescape
func blocks2(states *[2][8]uint32, a, b *byte, n int)
