package delta

// nibbles is what a context knows of the nibbles that follow it: sixteen
// numbers of 16 bits, the n-th of them how often a nibble below n came, in
// 1/total. The 0th would always be 0; it counts the updates instead.
type nibbles [4]uint64

const (
	// total of one context; the sum of two and of floor is 1<<totalBits.
	total = (1<<totalBits - 16*room) / 2
	room  = 4 // what each nibble has even if it never came
	lanes = 0x0001_0001_0001_0001
	tops  = 0x8000_8000_8000_8000

	seenMask = 0xff
)

// spread returns sixteen numbers side by side.
func spread(number func(i int) int) (n nibbles) {
	for i := range 16 {
		n[i/4] |= uint64(number(i)) << (16 * (i % 4))
	}
	return n
}

var (
	// unseen knows nothing: all nibbles are equal.
	unseen = spread(func(i int) int { return i * total / 16 })
	floor  = spread(func(i int) int { return i * room })
)

// pace is how far an update moves, by the number of updates before it: far at
// first, for a context must soon be of use; later little, to the point.
type pace struct {
	shift  uint64 // 1/2^shift of the way
	seen   uint64 // added to the number of updates
	mask   [2]uint64
	toward [16]nibbles // 1/2^shift of where an update leads
}

// slower lists from how many updates on the shift is 3, 4, …
var slower = []int{6, 20, 60, 200}

var paces = func() (t [seenMask + 1]pace) {
	for seen := range t {
		p := &t[seen]
		p.shift = 2
		for _, n := range slower {
			if seen >= n {
				p.shift++
			}
		}
		if seen < slower[len(slower)-1] {
			p.seen = 1
		}
		lane := uint64(0xffff) >> p.shift
		p.mask = [2]uint64{lane * (lanes - 1), lane * lanes}
		for v := range p.toward {
			p.toward[v] = spread(func(i int) int {
				if i > v {
					return total >> p.shift
				}
				return 0
			})
		}
	}
	return t
}()

// learn moves towards v. Each number n becomes n - n>>shift, and those above v
// get total>>shift more: so they stay in order, and none exceeds total.
func (n *nibbles) learn(v int) {
	p := &paces[n[0]&seenMask]
	k, t := p.shift&15, &p.toward[v&15]
	n[0] = n[0] - n[0]>>k&p.mask[0] + t[0] + p.seen
	n[1] = n[1] - n[1]>>k&p.mask[1] + t[1]
	n[2] = n[2] - n[2]>>k&p.mask[1] + t[2]
	n[3] = n[3] - n[3]>>k&p.mask[1] + t[3]
}
