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

// An update moves 1/2^shift of the way: far at first, for a context must soon be
// of use; later little, to the point. slower lists from how many updates on the
// shift is one more than firstShift, two more, …
const firstShift = 2

var slower = [...]int{6, 20, 60, 200}

const paces = 1 + len(slower)

var (
	// paceOf is by how much the shift exceeds firstShift after so many updates.
	paceOf = func() (t [seenMask + 1]uint8) {
		for seen := range t {
			for _, n := range slower {
				if seen >= n {
					t[seen]++
				}
			}
		}
		return t
	}()
	// toward is what an update adds for each nibble: 1/2^shift of where it leads.
	// In the 0th number it counts, until the pace stays the same.
	toward = func() (t [paces][16]nibbles) {
		for k := range t {
			for v := range t[k] {
				t[k][v] = spread(func(i int) int {
					switch {
					case i > v:
						return total >> (k + firstShift)
					case i == 0 && k < paces-1:
						return 1
					}
					return 0
				})
			}
		}
		return t
	}()
)

// learn moves towards v. Each number n becomes n - n>>shift, and those above v
// get total>>shift more: so they stay in order, and none exceeds total.
func (n *nibbles) learn(v int) {
	k := int(paceOf[n[0]&seenMask])
	shift, t := (k+firstShift)&15, &toward[k%paces][v&15]
	lane := uint64(0xffff) >> shift
	n[0] = n[0] - n[0]>>shift&(lane*(lanes-1)) + t[0]
	n[1] = n[1] - n[1]>>shift&(lane*lanes) + t[1]
	n[2] = n[2] - n[2]>>shift&(lane*lanes) + t[2]
	n[3] = n[3] - n[3]>>shift&(lane*lanes) + t[3]
}
