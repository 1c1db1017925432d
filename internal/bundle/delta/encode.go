package delta

import "encoding/binary"

// effort is how hard the encoder looks for runs.
type effort struct {
	chain int // candidates looked at for a position
	ahead int // bytes over which a candidate is judged
	// content: with so many 16ths of what could be gained, the last distance is
	// kept without looking further.
	content int
}

var (
	quick = effort{chain: 4, ahead: 64, content: 8}
	best  = effort{chain: 32, ahead: 256, content: 12}
)

// finder finds earlier places of the window that begin with the same bytes.
type finder struct {
	w    []byte
	head []int32 // by hash: 1 + the last place
	prev []int32 // 1 + the place before with the same hash
	next int     // first place not yet known
}

const (
	findBytes = 6
	findBits  = 20
)

func findHash(b []byte) uint32 {
	v := binary.LittleEndian.Uint64(b) << (64 - 8*findBytes)
	return uint32(v * 0x9e3779b97f4a7c15 >> (64 - findBits))
}

func (f *finder) reset(w []byte) {
	if f.head == nil {
		f.head = make([]int32, 1<<findBits)
	}
	clear(f.head)
	if cap(f.prev) < len(w) {
		f.prev = make([]int32, len(w))
	}
	f.w, f.prev, f.next = w, f.prev[:len(w)], 0
}

// learn makes the places below end known.
func (f *finder) learn(end int) {
	for end = min(end, len(f.w)-8); f.next < end; f.next++ {
		h := findHash(f.w[f.next:])
		f.prev[f.next] = f.head[h]
		f.head[h] = int32(f.next) + 1
	}
}

// encoder encodes windows, one after the other.
type encoder struct {
	m      *model
	f      finder
	effort effort
}

// encode returns a code from which decode makes window[start:].
func (e *encoder) encode(window []byte, start int) []byte {
	c := newCodec(newEncoder(), e.m, window, start)
	e.f.reset(window)
	for c.pos < len(window) {
		e.f.learn(c.pos)
		kind, dist, n := e.choose(c)
		if n == 0 {
			c.isRun(0)
			c.literal(window[c.pos])
			c.pos++
			continue
		}
		c.isRun(1)
		c.runKind(kind)
		c.length(n, kind)
		c.distance(dist, kind, n)
		c.pos += n
		c.ranOver(n)
	}
	return c.rc.finish()
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

// choose returns the next token: n = 0 for a literal.
func (e *encoder) choose(c *codec) (kind, dist, n int) {
	w, pos := c.w, c.pos
	r0 := 0
	if d := c.reps[0]; d > 0 && d <= pos {
		r0 = equal(w, pos-d, pos)
		if r0 >= 32 && c.lits > 0 {
			return kindRep0, d, r0
		}
	}
	bestScore := 0
	if d := c.reps[0]; d > 0 && d <= pos {
		bestScore = e.score(w, pos, d)
	}
	if bestScore >= min(e.effort.ahead, len(w)-pos)*gainByte*e.effort.content/16 {
		return e.goOn(c, r0) // nothing can be much better
	}
	kind = -1
	try := func(k, d, cost int) {
		if d <= 0 || d > pos || d == c.reps[0] {
			return
		}
		if s := e.score(w, pos, d) - cost; s > bestScore {
			bestScore, kind, dist = s, k, d
		}
	}
	for k := 1; k < 4; k++ {
		if d := c.reps[k]; d > 0 && d <= pos && w[pos-d] == w[pos] {
			try(k, d, costRep)
		}
	}
	if pos+8 < len(w) {
		key := binary.LittleEndian.Uint64(w[pos:]) << (64 - 8*findBytes)
		at := int(e.f.head[findHash(w[pos:])])
		for range e.effort.chain {
			if at == 0 {
				break
			}
			at--
			if binary.LittleEndian.Uint64(w[at:])<<(64-8*findBytes) == key {
				d := pos - at
				k, cost := kindFar, costFar
				if off := d - c.reps[0]; c.reps[0] > 0 && off < 1<<12 && off > -1<<12 {
					k, cost = kindNear, costNear
				}
				try(k, d, cost)
			}
			at = int(e.f.prev[at])
		}
	}
	if kind >= 0 {
		if n = equal(w, pos-dist, pos); n > 0 {
			for k := 1; k < 4; k++ {
				if c.reps[k] == dist {
					kind = k
				}
			}
			return kind, dist, n
		}
	}
	return e.goOn(c, r0)
}

// goOn stays at the last distance: with a run of what is equal there, or with
// a literal. Right after a run the last distance has ended.
func (e *encoder) goOn(c *codec, r0 int) (kind, dist, n int) {
	if r0 > 0 && (c.lits > 0 || c.pos == c.start) {
		return kindRep0, c.reps[0], r0
	}
	return 0, 0, 0
}

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
			return min(n, 1<<24-1)
		}
		n += 8
	}
	for b+n < len(w) && w[a+n] == w[b+n] {
		n++
	}
	return min(n, 1<<24-1)
}
