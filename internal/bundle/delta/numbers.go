package delta

import (
	"encoding/binary"
	"math/bits"
)

const hotReach = 16 // bytes

// hotAhead returns how far the next two hot bytes are at the distance: those
// after which there are addresses in programs for x86, namely of calls and
// jumps, and of data that is named by its distance from the code. It helps to
// foresee where a run ends, and does no harm elsewhere.
func (c *codec) hotAhead() (h1, h2 int) {
	from := c.pos - c.dists[0]
	ahead := c.w[from:min(from+hotReach, c.pos)]
	if len(ahead) < hotReach {
		ahead = append(make([]byte, 0, hotReach), ahead...)[:hotReach]
	}
	marks := hot(binary.LittleEndian.Uint64(ahead)) | hot(binary.LittleEndian.Uint64(ahead[8:]))<<8 | 1<<hotReach
	h1 = bits.TrailingZeros64(marks)
	return h1, min(bits.TrailingZeros64(marks&(marks-1)), hotReach)
}

// hot marks the hot ones among eight bytes, each by a bit.
func hot(b uint64) uint64 {
	const each, tops uint64 = 0x0101_0101_0101_0101, 0x8080_8080_8080_8080
	calls, jumps, data := b&(each*0xfe)^each*0xe8, b&(each*0xfe)^each*0x84, b&(each*0xc7)^each*0x05
	zero := func(v uint64) uint64 { return ^(v&^tops + ^tops | v) & tops }
	// Eight bits, eight apart, come together in the top byte of the product.
	return (zero(calls) | zero(jumps) | zero(data)) >> 7 * 0x0102_0408_1020_4080 >> 56
}

// Classes of lengths: the shortest length of each, and the bits that tell which
// of it.
var (
	classFrom = [lenClasses]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 23, 39, 103, 1127}
	classBits = [lenClasses]int{10: 2, 11: 3, 12: 4, 13: 6, 14: 10, 15: 24}
)

// longest is the longest run.
const longest = 1 << 24

func classOf(n int) int {
	class := 0
	for class+1 < lenClasses && n >= classFrom[class+1] {
		class++
	}
	return class
}

// run codes the length of a run, at least 1. The distance must be a good one.
func (c *codec) run(n int) int {
	class := 0
	if !c.decoding {
		class = classOf(n)
	}
	h1, h2 := c.hotAhead()
	hots := (c.after*(hotReach+1)+h1)*(hotReach+1) + h2
	class = c.nibble(class, &c.m.lengths[c.history()], &c.m.lengthsHot[hots])
	c.after, c.len1, c.len2 = afterRun, class, c.len1
	return classFrom[class] + c.rest(n-classFrom[class], classBits[class], &c.m.lengthRest[class])
}

// number codes a number from 1 to 2^32-1: how many bits it has, and those below
// its top one.
func (c *codec) number(v int, m *number) int {
	n := bits.Len(uint(v)) - 1
	n = c.nibble(n>>1&15, &m.size, &m.size)<<1 | c.flat(n, 1)
	return 1<<n | c.rest(v, n, &m.rest[n&31])
}

// difference codes a number that is not 0.
func (c *codec) difference(v int, m *number) int {
	if c.flat(v>>63&1, 1) != 0 {
		return -c.number(-v, m)
	}
	return c.number(v, m)
}

// rest codes the lowest n bits of v: the top four of them have a model, if
// there are so many.
func (c *codec) rest(v, n int, t *nibbles) int {
	if n < 4 {
		return c.flat(v, n)
	}
	return c.nibble(v>>(n-4)&15, t, t)<<(n-4) | c.flat(v, n-4)
}
