package delta

const (
	lenClasses = 16 // of runs
	shiftsKept = 12
	histories  = afters * lenClasses * lenClasses
)

// model is the memory of a codec: what it has seen in each context. It is
// small enough for the cache of a processor core.
type model struct {
	tokens     [histories]nibbles
	tokensHere [5 * 4 * 256]nibbles // by what went before, place in a word, byte before

	lengths    [histories]nibbles
	lengthsHot [afters * (hotReach + 1) * (hotReach + 1)]nibbles
	lengthRest [lenClasses]nibbles

	jumps          [afters]nibbles
	near, far, raw number

	// The two nibbles of a byte: the first, and by it the second.
	predicted [256][17]nibbles // by the byte at the distance
	before    [256][17]nibbles // by the byte before

	shifts [shiftsKept]uint32 // last used first
}

// number is the memory for numbers of one kind.
type number struct {
	size nibbles
	rest [32]nibbles
}

func (m *model) reset() {
	for _, t := range [][]nibbles{m.tokens[:], m.tokensHere[:], m.lengths[:], m.lengthsHot[:], m.lengthRest[:], m.jumps[:]} {
		for i := range t {
			t[i] = unseen
		}
	}
	for i := range m.predicted {
		for j := range m.predicted[i] {
			m.predicted[i][j], m.before[i][j] = unseen, unseen
		}
	}
	for _, n := range []*number{&m.near, &m.far, &m.raw} {
		n.size = unseen
		for i := range n.rest {
			n.rest[i] = unseen
		}
	}
	for i := range m.shifts {
		m.shifts[i] = uint32(i)
	}
}
