package delta

import "math/bits"

// codec codes the bytes of a window that follow the dictionary, as tokens:
//
//   - a literal: one byte,
//   - a run: bytes that equal those at a distance before them.
//
// Old and new pieces of a file that was changed lie side by side at one
// distance, with literals where they differ. So the last distance is kept: a
// literal is predicted by the byte at that distance and by how the bytes
// before it differed from theirs, and a run most often goes on at it.
//
// All state is here, and encoding and decoding are the same code but for the
// range coder, so they stay in step.
type codec struct {
	rc    *rangeCoder
	w     []byte // dictionary and, from start on, the bytes coded
	start int
	pos   int
	reps  [4]int // the last distances, 0: none

	lits     int    // literals since the last run
	len1     int    // length class of the last run
	len2     int    // and of the one before
	diff     byte   // of the last literal that differed from its prediction
	diffs    uint32 // the last differences, newest in the low byte
	diffHit  int    // how well the last difference predicted, 0 to 3
	lastMiss int    // position of the last literal

	m *model
}

// Kinds of runs.
const (
	kindRep0 = iota
	kindRep1
	kindRep2
	kindRep3
	kindNear // distance given relative to the last
	kindFar
)

const (
	hashBits = 18
	lenClass = 16
)

// model is the memory of a codec.
type model struct {
	run     [8 * lenClass]prob
	runLong [8 * lenClass * lenClass]prob
	runW    [8]weights2
	kinds   [4 * lenClass][8]prob
	lenTree [3 * lenClass][32]prob
	lenPair [3 * lenClass * lenClass][32]prob
	lenW    [3]weights2
	lenLow  [3][24][64]prob
	sign    [2]prob
	nearTop [32]prob
	nearLow [24][64]prob
	farTop  [4][32]prob
	farLow  [32][64]prob

	order1 [256][256]prob
	order2 [1 << hashBits]prob
	pred   [2 * 256][256]prob
	shift  [4 * 256][256]prob
	hist   [1 << hashBits]prob
	litW   [4 * 4]weights5
}

func (m *model) reset() {
	fill := func(ps []prob) {
		for i := range ps {
			ps[i] = probInit
		}
	}
	fill(m.run[:])
	fill(m.runLong[:])
	for i := range m.kinds {
		fill(m.kinds[i][:])
	}
	for i := range m.lenTree {
		fill(m.lenTree[i][:])
	}
	for i := range m.lenPair {
		fill(m.lenPair[i][:])
	}
	for i := range m.lenLow {
		for j := range m.lenLow[i] {
			fill(m.lenLow[i][j][:])
		}
	}
	fill(m.sign[:])
	fill(m.nearTop[:])
	for i := range m.nearLow {
		fill(m.nearLow[i][:])
	}
	for i := range m.farTop {
		fill(m.farTop[i][:])
	}
	for i := range m.farLow {
		fill(m.farLow[i][:])
	}
	for i := range m.order1 {
		fill(m.order1[i][:])
	}
	for i := range m.pred {
		fill(m.pred[i][:])
	}
	for i := range m.shift {
		fill(m.shift[i][:])
	}
	fill(m.order2[:])
	fill(m.hist[:])
	for i := range m.runW {
		m.runW[i] = weights2{1 << 15, 1 << 15}
	}
	for i := range m.lenW {
		m.lenW[i] = weights2{1 << 15, 1 << 15}
	}
	for i := range m.litW {
		m.litW[i] = weights5{20000, 20000, 20000, 20000, 20000}
	}
}

func newCodec(rc *rangeCoder, m *model, window []byte, start int) *codec {
	m.reset()
	c := &codec{rc: rc, m: m, w: window, start: start, pos: start}
	if start > 0 {
		c.reps[0] = start
	}
	return c
}

// predicted is the byte at the last distance.
func (c *codec) predicted() byte {
	if d := c.reps[0]; d > 0 && d <= c.pos {
		return c.w[c.pos-d]
	}
	return 0
}

// isRun codes whether a run follows, not a literal.
func (c *codec) isRun(run int) int {
	l := min(c.lits, 7)
	p0, p1 := &c.m.run[l*lenClass+c.len1], &c.m.runLong[(l*lenClass+c.len1)*lenClass+c.len2]
	return c.mixed2(run, p0, p1, &c.m.runW[l])
}

func (c *codec) literal(b byte) byte {
	e := c.predicted()
	first := 0
	if c.lits == 0 {
		first = 1
	}
	var c1, c2 byte
	if c.pos > 0 {
		c1 = c.w[c.pos-1]
	}
	if c.pos > 1 {
		c2 = c.w[c.pos-2]
	}
	x := e + c.diff
	gap := min(c.pos-c.lastMiss, 9)
	h2 := (uint32(c1)<<8 | uint32(c2)) * 0x9e3779b1
	h3 := ((c.diffs&0xffff)<<4 | uint32(gap)) * 0x85ebca6b
	h3 = (h3 ^ uint32(e)*0x27d4eb2f)
	o1 := &c.m.order1[c1]
	pr := &c.m.pred[first*256+int(e)]
	sh := &c.m.shift[c.diffHit*256+int(x)]
	w := &c.m.litW[min(c.lits, 3)*4+c.diffHit]
	node := uint32(1)
	for i := 7; i >= 0; i-- {
		i2 := (h2 + node*0x2545f491) * 0x9e3779b1 >> (32 - hashBits)
		i3 := (h3 + node*0x2545f491) * 0x9e3779b1 >> (32 - hashBits)
		n := node & 255 // which it is: the compiler shall know
		bit := c.mixed5(int(b>>i)&1, &o1[n], &c.m.order2[i2], &pr[n], &sh[n], &c.m.hist[i3], w)
		node = node<<1 | uint32(bit)
	}
	b = byte(node)
	if b == x {
		c.diffHit = min(c.diffHit+1, 3)
	} else {
		c.diffHit /= 2
	}
	if d := b - e; d != 0 {
		c.diff = d
	}
	c.diffs = c.diffs<<8 | uint32(b-e)
	c.lastMiss = c.pos
	c.lits++
	return b
}

// runKind codes the kind of a run.
func (c *codec) runKind(kind int) int {
	return c.tree(kind, 3, c.m.kinds[min(c.lits, 3)*lenClass+c.len1][:])
}

// tree codes n bits, from the top, each with the ones above it as context.
func (c *codec) tree(v, n int, ps []prob) int {
	node := 1
	for i := n - 1; i >= 0; i-- {
		p := &ps[node]
		bit := c.rc.code(v>>i&1, p.p16())
		p.update(bit, limitFlag)
		node = node<<1 | bit
	}
	return node - 1<<n
}

// number codes v >= 1 below 2^24: the place of its top bit was coded already;
// of the bits below it the first have a model, the rest is as it is.
func (c *codec) lowBits(v, top int, ps []prob) int {
	const modelled = 5
	n := min(top, modelled)
	out := 1<<n | c.tree(v>>(top-n)&(1<<n-1), n, ps)
	for i := top - n - 1; i >= 0; i-- {
		out = out<<1 | c.rc.code(v>>i&1, 1<<15)
	}
	return out
}

// length codes the length of a run, 1 to 2^24-1.
func (c *codec) length(n, kind int) int {
	class := 2
	switch {
	case kind == kindRep0:
		class = 0
	case kind <= kindRep3:
		class = 1
	}
	t1 := &c.m.lenTree[class*lenClass+c.len1]
	t2 := &c.m.lenPair[(class*lenClass+c.len1)*lenClass+c.len2]
	top := bits.Len(uint(n)) - 1
	node := 1
	for i := 4; i >= 0; i-- {
		node = node<<1 | c.mixed2(top>>i&1, &t1[node], &t2[node], &c.m.lenW[class])
	}
	top = min(node-32, 23)
	return c.lowBits(n, top, c.m.lenLow[class][top][:])
}

// near codes a distance by its difference from the last, which is not 0.
func (c *codec) near(delta int) int {
	neg := 0
	if delta < 0 {
		neg, delta = 1, -delta
	}
	neg = c.tree(neg, 1, c.m.sign[:])
	top := min(c.tree(bits.Len(uint(delta))-1, 5, c.m.nearTop[:]), 23)
	delta = c.lowBits(delta, top, c.m.nearLow[top][:])
	if neg != 0 {
		return -delta
	}
	return delta
}

func (c *codec) far(dist, length int) int {
	top := c.tree(bits.Len(uint(dist))-1, 5, c.m.farTop[min(bits.Len(uint(length))/2, 3)][:])
	return c.lowBits(dist, top, c.m.farLow[top][:])
}

// distance codes where a run comes from and makes it the last distance. A
// distance that makes no sense comes out as it is: the decoder checks.
func (c *codec) distance(dist, kind, length int) int {
	switch kind {
	case kindNear:
		dist = c.reps[0] + c.near(dist-c.reps[0])
	case kindFar:
		dist = c.far(dist, length)
	case kindRep0, kindRep1, kindRep2, kindRep3:
		dist = c.reps[kind]
	}
	last := min(kind, 3)
	copy(c.reps[1:last+1], c.reps[:last])
	c.reps[0] = dist
	return dist
}

// ranOver takes note of a run.
func (c *codec) ranOver(n int) {
	c.len2, c.len1 = c.len1, classOf(n)
	c.lits = 0
}

// classOf tells short lengths exactly and long ones roughly.
func classOf(n int) int {
	switch {
	case n < 10:
		return n
	case n < 16:
		return 10
	case n < 24:
		return 11
	case n < 48:
		return 12
	case n < 128:
		return 13
	case n < 1024:
		return 14
	}
	return 15
}
