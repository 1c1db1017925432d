package delta

import (
	"encoding/binary"
	"slices"
)

// effort is how hard the encoder looks for runs.
type effort struct {
	chain int // candidates looked at for a position
	ahead int // bytes over which a candidate is judged
	// content: with so many 16ths of what could be gained, the last distance is
	// kept without looking further.
	content int
	step    int // every so many places are remembered
	// After so many literals in a row not every place is looked at: there is
	// hardly anything to find.
	patience int
}

var (
	quick = effort{chain: 4, ahead: 64, content: 8, step: 4, patience: 64}
	best  = effort{chain: 32, ahead: 256, content: 12, step: 1, patience: 1 << 30}
)

// finder finds earlier places of the window that begin with the same bytes.
type finder struct {
	w    []byte
	head []int32 // by hash: 1 + the last place
	prev []int32 // 1 + the place before with the same hash
	next int     // first place not yet known
	step int
}

const (
	findBytes = 6
	findBits  = 20
)

func findHash(b []byte) uint32 {
	v := binary.LittleEndian.Uint64(b) << (64 - 8*findBytes)
	return uint32(v * 0x9e3779b97f4a7c15 >> (64 - findBits))
}

func (f *finder) reset(w []byte, step int) {
	if f.head == nil {
		f.head = make([]int32, 1<<findBits)
	}
	clear(f.head)
	if cap(f.prev) < len(w) {
		f.prev = make([]int32, len(w))
	}
	f.w, f.prev, f.next, f.step = w, f.prev[:len(w)], 0, step
}

// learn makes the places below end known.
func (f *finder) learn(end int) {
	for end = min(end, len(f.w)-8); f.next < end; f.next += f.step {
		h := findHash(f.w[f.next:])
		f.prev[f.next] = f.head[h]
		f.head[h] = int32(f.next) + 1
	}
}

// each calls fn for at most limit places that begin like pos, the last first.
func (f *finder) each(pos, limit int, fn func(at int)) {
	if pos+8 >= len(f.w) {
		return
	}
	key := binary.LittleEndian.Uint64(f.w[pos:]) << (64 - 8*findBytes)
	at := int(f.head[findHash(f.w[pos:])])
	for ; at > 0 && limit > 0; limit-- {
		if binary.LittleEndian.Uint64(f.w[at-1:])<<(64-8*findBytes) == key {
			fn(at - 1)
		}
		at = int(f.prev[at-1])
	}
}

// encoder encodes windows, one after the other.
type encoder struct {
	c      codec
	m      *model
	f      finder
	effort effort
	used   []int // bytes of each granule of the dictionary that runs came from
}

// encode returns what decode makes window[start:] from.
func (e *encoder) encode(window []byte, start int) (plain, code []byte) {
	c := &e.c
	c.startEncoding()
	c.begin(e.m, window, start, nil)
	e.f.reset(window, e.effort.step)
	e.used = make([]int, start/granuleBytes)
	// From c.pos to pos are literals, not coded yet.
	for pos := start; pos < len(window); {
		e.f.learn(pos)
		if pos == c.pos {
			c.settle()
		}
		t := e.choose(c, pos)
		if t.kind == tokenLiteral {
			if e.shiftAt(c, pos) < 0 {
				pos = min(pos+1+min((pos-c.pos)/e.effort.patience, 7), len(window))
				continue
			}
			e.literals(c, pos)
			c.settle()
			// The literals may have driven it out.
			i := e.shiftAt(c, pos)
			if i < 0 {
				pos++
				continue
			}
			c.token(tokenShift + i)
			c.shift(i)
			pos = c.pos
			continue
		}
		e.literals(c, pos)
		c.token(t.kind)
		if t.kind == tokenJump {
			c.jump(t.jump, t.dist)
		}
		c.run(t.n)
		e.note(c.pos-c.dists[0], t.n)
		c.pos += t.n
		pos = c.pos
	}
	e.literals(c, len(window))
	return c.plain, c.finish()
}

// note takes note that a run came from a place.
func (e *encoder) note(from, n int) {
	for n > 0 && from/granuleBytes < len(e.used) {
		k := min(n, granuleBytes-from%granuleBytes)
		e.used[from/granuleBytes] += k
		from, n = from+k, n-k
	}
}

// minPlain is how many bytes in a row it takes to see whether they are dense.
const minPlain = 32

// literals codes the bytes below end, for which there is nothing better.
func (e *encoder) literals(c *codec, end int) {
	if b := c.w[c.pos:end]; len(b) >= minPlain && dense(b) {
		c.token(tokenPlain)
		c.plainBytes(len(b))
		c.plain = append(c.plain, b...)
		c.pos = end
	}
	for c.pos < end {
		c.token(tokenLiteral)
		c.literal(c.w[c.pos])
	}
}

// dense reports whether bytes look compressed: no code gets them smaller.
func dense(b []byte) bool {
	var counts [256]int
	for _, c := range b {
		counts[c]++
	}
	// Pairs of equal bytes: of random ones every 256th is, of text and programs
	// several times as many.
	pairs := 0
	for _, k := range counts {
		pairs += k * (k - 1)
	}
	return pairs*256 < len(b)*(len(b)-1)*3/2
}

// shiftAt returns which of the shifts makes the next four bytes, or -1.
func (e *encoder) shiftAt(c *codec, pos int) int {
	d := c.dists[0]
	if d < 4 || d > pos || pos+4 > len(c.w) {
		return -1
	}
	return slices.Index(c.m.shifts[:], binary.LittleEndian.Uint32(c.w[pos:])-binary.LittleEndian.Uint32(c.w[pos-d:]))
}

// token is what comes next.
type token struct {
	kind int // tokenLiteral: that, or a shift
	jump int // kind of the jump
	dist int
	n    int // length of the run
}

// What tokens cost, roughly, in 1/4 bits.
const (
	gainByte = 18 // a byte that needs no literal
	costMiss = 12 // a literal inside, and the run after it
	costRep  = 24
	costNear = 56
	costFar  = 96
	dropOut  = 160 // a candidate that falls so far below its best is given up
)

// choose returns the next token.
func (e *encoder) choose(c *codec, pos int) token {
	w, d0 := c.w, c.dists[0]
	stay := token{kind: tokenLiteral}
	bestScore := 0
	if d0 > 0 && d0 <= pos {
		// Right after a run the distance has ended.
		if n := equal(w, pos-d0, pos); n > 0 && (c.after != afterRun || pos > c.pos) {
			stay = token{kind: tokenRun, n: n}
			if n >= 32 {
				return stay
			}
		}
		bestScore = e.score(w, pos, d0)
	}
	if bestScore >= min(e.effort.ahead, len(w)-pos)*gainByte*e.effort.content/16 {
		return stay // nothing can be much better
	}
	dist := 0
	try := func(d, cost int) {
		if d <= 0 || d > pos || d == d0 {
			return
		}
		if s := e.score(w, pos, d) - cost; s > bestScore {
			bestScore, dist = s, d
		}
	}
	for _, d := range c.dists[1:] {
		if d > 0 && d <= pos && w[pos-d] == w[pos] {
			try(d, costRep)
		}
	}
	e.f.each(pos, e.effort.chain, func(at int) {
		cost := costFar
		if isNear(pos-at, d0) {
			cost = costNear
		}
		try(pos-at, cost)
	})
	if dist == 0 {
		return stay
	}
	n := equal(w, pos-dist, pos)
	if n == 0 {
		return stay
	}
	t := token{kind: tokenJump, jump: jumpFar, dist: dist, n: n}
	if i := slices.Index(c.dists[1:], dist); i >= 0 {
		t.jump = i
	} else if isNear(dist, d0) {
		t.jump = jumpNear
	}
	return t
}

func isNear(dist, last int) bool { return last > 0 && dist-last < 1<<12 && last-dist < 1<<12 }

// score tells what a distance is worth for the bytes that follow pos.
func (e *encoder) score(w []byte, pos, dist int) int {
	end := min(len(w), pos+e.effort.ahead)
	score, top, missing := 0, 0, false
	for i := pos; i < end; i++ {
		if w[i] == w[i-dist] {
			score += gainByte
			missing = false
			top = max(top, score)
			continue
		}
		score -= costMiss
		if !missing {
			score -= costMiss
		}
		missing = true
		if score < top-dropOut {
			break
		}
	}
	return top
}

// equal counts the equal bytes at a and b, a < b.
func equal(w []byte, a, b int) int {
	n := 0
	for b+n+8 <= len(w) {
		if x := binary.LittleEndian.Uint64(w[a+n:]) ^ binary.LittleEndian.Uint64(w[b+n:]); x != 0 {
			for x&0xff == 0 {
				n++
				x >>= 8
			}
			return min(n, longest)
		}
		n += 8
	}
	for b+n < len(w) && w[a+n] == w[b+n] {
		n++
	}
	return min(n, longest)
}
