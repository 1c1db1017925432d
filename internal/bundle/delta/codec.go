package delta

import "encoding/binary"

// codec codes the bytes of a window that follow the dictionary, as tokens:
//
//   - a literal: one byte,
//   - a run: bytes that equal those at the distance,
//   - a shift: four bytes that are those at the distance plus a number that
//     was seen lately, as addresses in code that moved are,
//   - a jump: another distance, and a run,
//   - plain bytes, which are given beside the code.
//
// Old and new pieces of a file that was changed lie side by side at one
// distance, with literals and shifts where they differ.
//
// All state is here and in the model, and encoding and decoding are the same
// code but for the call that decodes a token with its literal, so they stay in
// step.
type codec struct {
	coder
	m     *model
	w     []byte // dictionary, and the bytes coded
	plain []byte // encoding: those that were; decoding: those that are left
	pos   int
	dists [4]int // the last distances, 0: none

	after      int // what the last token was
	len1, len2 int // class of the last run, and of the one before
	differs    int // where bytes began to differ by a shift not known yet, or -1
}

// Values of codec.after: from 1 to afterMany so many literals, and
const (
	afterRun   = 0
	afterMany  = 7
	afterShift = 8
	afterJump  = 9 // and at the start
	afters     = 10
)

// Kinds of tokens: from tokenShift on shifts, by their place among those kept.
const (
	tokenLiteral = iota
	tokenRun
	tokenJump
	tokenPlain
	tokenShift
)

// Kinds of jumps: below jumpNear, to one of the last distances.
const (
	jumpNear = 3 // distance given relative to the last
	jumpFar  = 4
)

func (c *codec) begin(m *model, window []byte, start int, plain []byte) {
	m.reset()
	c.m, c.w, c.pos, c.plain = m, window, start, plain
	c.dists = [4]int{start}
	c.after, c.len1, c.len2, c.differs = afterJump, 0, 0, -1
}

// aligned reports whether there is a byte at the last distance.
func (c *codec) aligned() bool { return c.dists[0] > 0 && c.dists[0] <= c.pos }

// before is the last byte.
func (c *codec) before() byte {
	if c.pos == 0 {
		return 0
	}
	return c.w[c.pos-1]
}

func (c *codec) history() int { return (c.after*lenClasses+c.len1)*lenClasses + c.len2 }

// contexts returns those of the next token.
func (c *codec) contexts() (history, here *nibbles) {
	before := min(c.after, 4)
	if c.after >= afterShift {
		before = 3
	}
	return &c.m.tokens[c.history()], &c.m.tokensHere[(before*4+c.pos&3)<<8|int(c.before())]
}

// literalContexts returns those of the next byte, if it is a literal.
func (c *codec) literalContexts() (predicted, before *[17]nibbles) {
	e := byte(0)
	if c.aligned() {
		e = c.w[c.pos-c.dists[0]]
	}
	return &c.m.predicted[e], &c.m.before[c.before()]
}

// token encodes which kind of token follows.
func (c *codec) token(kind int) {
	c.settle()
	history, here := c.contexts()
	c.nibble(kind, history, here)
}

// literal encodes a byte, of which the token is coded.
func (c *codec) literal(b byte) {
	predicted, before := c.literalContexts()
	high, low := int(b>>4), int(b&15)
	c.nibble(high, &predicted[0], &before[0])
	c.nibble(low, &predicted[1+high], &before[1+high])
	c.put(b)
}

// symbol decodes which kind of token follows, and the byte of a literal.
func (c *codec) symbol() (kind int, b byte) {
	c.settle()
	history, here := c.contexts()
	predicted, before := c.literalContexts()
	var s int
	if wide {
		s = wideSymbol(&c.coder, history, here, predicted, before)
	} else {
		s = wordsSymbol(&c.coder, history, here, predicted, before)
	}
	return s & 15, byte(s >> 4)
}

// put takes a literal.
func (c *codec) put(b byte) {
	if c.differs < 0 && c.aligned() {
		c.differs = c.pos
	}
	c.w[c.pos] = b
	c.pos++
	switch {
	case c.after < afterMany:
		c.after++
	case c.after > afterMany:
		c.after = 1
	}
}

// settle keeps the shift of bytes that came as literals, once all four are
// there.
func (c *codec) settle() {
	p, d := c.differs, c.dists[0]
	if p < 0 || c.pos < p+4 {
		return
	}
	c.differs = -1
	v := binary.LittleEndian.Uint32(c.w[p:]) - binary.LittleEndian.Uint32(c.w[p-d:])
	last := v
	for i := range c.m.shifts {
		c.m.shifts[i], last = last, c.m.shifts[i]
		if last == v {
			return
		}
	}
}

// shift makes four bytes from those at the distance.
func (c *codec) shift(i int) {
	s := &c.m.shifts
	v := s[i]
	copy(s[1:i+1], s[:i])
	s[0] = v
	binary.LittleEndian.PutUint32(c.w[c.pos:], binary.LittleEndian.Uint32(c.w[c.pos-c.dists[0]:])+v)
	c.pos += 4
	c.after, c.differs = afterShift, -1
}

// plainBytes codes how many plain bytes follow.
func (c *codec) plainBytes(n int) int {
	c.after, c.differs = afterMany, -1
	return c.number(n, &c.m.raw)
}

// jump codes where a run comes from and makes it the last distance. One that
// makes no sense comes out as it is: the decoder checks.
func (c *codec) jump(kind, dist int) {
	t := &c.m.jumps[c.after]
	kind = c.nibble(kind, t, t)
	switch kind {
	case jumpNear:
		dist = c.dists[0] + c.difference(dist-c.dists[0], &c.m.near)
	case jumpFar:
		dist = c.number(dist, &c.m.far)
	default:
		dist = c.dists[(kind+1)&3] // a kind that there is not: as good as any
	}
	last := min(kind+1, 3)
	copy(c.dists[1:last+1], c.dists[:last])
	c.dists[0] = dist
	c.after, c.differs = afterJump, -1
}
