package blockdevtest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
)

// Crash is one disk as it may be found after a power cut.
type Crash struct {
	// Index is the number of operations that had been issued.
	Index int
	// Policy says what became of the writes that no Sync had covered. Index
	// and Policy together reproduce the crash.
	Policy string
	// Last is the operation issued last before the cut; zero at Index 0.
	Last Op
	// Disk is the disk after power came back, with an empty log.
	Disk *Disk
	// Done reports that run had returned before the cut: all that it
	// acknowledged must hold.
	Done bool
}

// String names the crash so that a failure can be reproduced.
func (c Crash) String() string {
	return fmt.Sprintf("cut after operation %d (%v), unsynced writes: %s", c.Index, c.Last, c.Policy)
}

// seeds is the number of random subsets of unsynced writes that are tried.
const seeds = 4

// maxTears bounds the tears of one large write; smaller ones are torn at
// every sector.
const maxTears = 16

// EachCrash runs run once on a copy of base and then calls check for each
// disk that a power cut could leave: before, between and after its
// operations, under every settle policy. It returns the number of crash
// points checked and run's own error.
//
// One run is enough for all of them because what run did before operation n
// does not depend on what would have happened after it.
func EachCrash(base *Disk, run func(*Disk) error, check func(Crash)) (points int, err error) {
	rec := base.Clone()
	err = run(rec)
	ops := rec.Log()

	durable := maps.Clone(base.now)
	synced := 0 // operations [0, synced) are durable
	for n := 0; n <= len(ops); n++ {
		var last Op
		if n > 0 {
			last = ops[n-1]
			if last.Sync {
				for _, o := range ops[synced:n] {
					o.apply(durable)
				}
				synced = n
			}
		}
		base.settle(ops[synced:n], func(policy string, landed []Op) {
			now := maps.Clone(durable)
			for _, o := range landed {
				o.apply(now)
			}
			points++
			check(Crash{
				Index: n, Policy: policy, Last: last, Done: n == len(ops),
				Disk: base.with(now),
			})
		})
	}
	return points, err
}

// settle calls yield with each selection of pending writes that may have
// reached the medium.
func (d *Disk) settle(pending []Op, yield func(policy string, landed []Op)) {
	yield("all lost", nil)
	if len(pending) == 0 {
		return
	}
	yield("all landed", pending)
	last, before := pending[len(pending)-1], pending[:len(pending)-1]
	d.tear(last, func(what string, part Op) {
		yield("earlier ones landed, last torn: "+what, append(before[:len(before):len(before)], part))
		yield("earlier ones lost, last torn: "+what, []Op{part})
	})
	d.damage(last, func(what string, garbage Op) {
		yield("earlier ones landed, "+what, append(before[:len(before):len(before)], garbage))
		yield("earlier ones lost, "+what, []Op{garbage})
	})
	if len(before) == 0 {
		return
	}
	yield("only the last landed", []Op{last})
	yield("all but the last landed", before)
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, uint64(len(pending))))
		var landed []Op
		for _, i := range rng.Perm(len(pending)) { // a permutation: reordered too
			if rng.IntN(2) == 0 {
				landed = append(landed, pending[i])
			}
		}
		yield(fmt.Sprintf("random, seed %d", seed), landed)
	}
}

// tear yields the prefixes and suffixes of a write of several sectors.
func (d *Disk) tear(o Op, yield func(what string, part Op)) {
	sector := int64(d.sector)
	sectors := o.Len / sector
	if o.Sync || sectors < 2 {
		return
	}
	step := max(1, (sectors-1)/maxTears)
	for at := int64(1); at < sectors; at += step {
		yield(fmt.Sprintf("first %d sectors", at), o.part(0, at*sector))
		yield(fmt.Sprintf("all but the first %d sectors", at), o.part(at*sector, o.Len))
	}
}

// damage yields what a disk with larger physical sectors may do to the first
// and the last one that a write touches: it reads, changes and writes them
// whole, so a cut can take the neighbouring sectors with it.
func (d *Disk) damage(o Op, yield func(what string, garbage Op)) {
	phys := int64(d.physical)
	if o.Sync || o.Len == 0 || phys == int64(d.sector) {
		return
	}
	first, last := o.Off/phys, (o.Off+o.Len-1)/phys
	for _, n := range [...]int64{first, last} {
		garbage := Op{Off: n * phys, Len: min(phys, d.size-n*phys)}
		garbage.Data = bytes.Repeat([]byte{0xA5}, int(garbage.Len))
		yield(fmt.Sprintf("physical sector %d damaged", n), garbage)
		if first == last {
			return
		}
	}
}
