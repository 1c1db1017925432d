package blockdevtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// Policy is a kind of answer to what becomes of the writes that no Sync had
// covered when the power went away.
type Policy uint8

// The policies. The zero value is invalid.
const (
	AllLost   Policy = iota + 1
	AllLanded        // in their order
	Torn             // the last one in part: its first sectors, or its last
	Reordered        // later ones without earlier ones
	Random           // any of them, in any order
	Physical         // torn within a physical sector, which takes its neighbours with it
)

// Policies lists all policies.
var Policies = [...]Policy{AllLost, AllLanded, Torn, Reordered, Random, Physical}

// String names the policy in a report.
func (p Policy) String() string {
	switch p {
	case AllLost:
		return "all lost"
	case AllLanded:
		return "all landed"
	case Torn:
		return "torn"
	case Reordered:
		return "reordered"
	case Random:
		return "random"
	case Physical:
		return "torn 4 KiB"
	}
	return fmt.Sprintf("blockdevtest.Policy(%d)", uint8(p))
}

// outcome is one way in which the pending writes settled.
type outcome struct {
	policy Policy
	detail string
	image  image
}

// settler knows the geometry that decides what may tear.
type settler struct {
	size, sector, physical int64
	zeroed                 bool
}

// settle calls yield with each way in which pending writes may settle on what
// is durable.
func (g settler) settle(durable image, pending []Op, yield func(outcome)) {
	yield(outcome{AllLost, "", durable})
	if len(pending) == 0 {
		return
	}
	last, before := pending[len(pending)-1], pending[:len(pending)-1]
	most := applyAll(durable, before)
	yield(outcome{AllLanded, "", last.apply(most)})
	for _, under := range []struct {
		name  string
		image image
	}{{"earlier ones landed", most}, {"earlier ones lost", durable}} {
		g.tear(under.image, last, func(what string, m image) { yield(outcome{Torn, under.name + ", " + what, m}) })
		g.damage(under.image, last, func(what string, m image) { yield(outcome{Physical, under.name + ", " + what, m}) })
		if len(before) == 0 {
			return
		}
	}
	yield(outcome{Reordered, "only the last landed", last.apply(durable)})
	yield(outcome{Reordered, "all but the last landed", most})
	subsets(durable, pending, yield)
}

// tear yields the prefixes and suffixes of a write of several sectors. Each is
// made from the one before it, so that all of them cost what one write costs.
func (g settler) tear(under image, o Op, yield func(what string, m image)) {
	sectors := o.Len / g.sector
	if o.Sync || sectors < 2 {
		return
	}
	step := tearStep(sectors, g.zeroed)
	m, done := under, int64(0)
	for at := int64(1); at < sectors; at += step {
		m = o.part(done*g.sector, at*g.sector).apply(m)
		done = at
		yield(fmt.Sprintf("the last torn: first %d of %d sectors", at, sectors), m)
	}
	m, done = under, o.Len
	for at := sectors - 1; at > 0; at -= step {
		m = o.part(at*g.sector, done).apply(m)
		done = at * g.sector
		yield(fmt.Sprintf("the last torn: all but the first %d of %d sectors", at, sectors), m)
	}
}

// damage yields what a disk with larger physical sectors may do to the first
// and the last one that a write touches: it reads, changes and writes them
// whole, so a cut can take the neighbouring sectors with it, and leave garbage
// or a sector that cannot be read before it is written again.
func (g settler) damage(under image, o Op, yield func(what string, m image)) {
	if o.Sync || o.Len == 0 || g.physical == g.sector {
		return
	}
	first, last := o.Off/g.physical, (o.Off+o.Len-1)/g.physical
	for _, n := range [...]int64{first, last} {
		off := n * g.physical
		length := min(g.physical, g.size-off)
		yield(fmt.Sprintf("physical sector %d damaged", n), under.write(bytes.Repeat([]byte{0xA5}, int(length)), off))
		yield(fmt.Sprintf("physical sector %d unreadable", n), under.spoil(off, length))
		if first == last {
			return
		}
	}
}

// subsets yields subsets of the pending writes: all of them when they are few,
// and random ones in random order.
func subsets(durable image, pending []Op, yield func(outcome)) {
	if n := len(pending); n <= subsetsUpTo {
		for set := range 1 << n {
			m := durable
			for i, o := range pending {
				if set>>i&1 == 1 {
					m = o.apply(m)
				}
			}
			yield(outcome{Reordered, fmt.Sprintf("subset %0*b of %d writes, the last one first", n, set, n), m})
		}
	}
	for seed := range seeds() {
		rng := rand.New(rand.NewPCG(seed, uint64(len(pending))))
		m := durable
		for _, i := range rng.Perm(len(pending)) { // a permutation: reordered too
			if rng.IntN(2) == 0 {
				m = pending[i].apply(m)
			}
		}
		yield(outcome{Random, fmt.Sprintf("seed %d", seed), m})
	}
}
