package blockdevtest

import (
	"fmt"
	"strings"
)

// Crash is one disk as it may be found after a power cut.
type Crash struct {
	// Index is the number of operations that had been issued.
	Index int
	// Policy says what became of the writes that no Sync had covered, and
	// Detail which of them. Index, Policy and Detail reproduce the crash.
	Policy Policy
	Detail string
	// Last is the operation issued last before the cut; zero at Index 0.
	Last Op
	// Disk is the disk after power came back, with an empty log.
	Disk *Disk
	// Acknowledged is how often run had called Disk.Acknowledge before the cut.
	Acknowledged int
	// Done reports that run had returned before the cut: all that it
	// acknowledged must hold.
	Done bool
	// First is the cut before this one, when this is one in the recovery.
	First *Crash
}

// String names the crash so that a failure can be reproduced.
func (c Crash) String() string {
	var b strings.Builder
	if c.First != nil {
		fmt.Fprintf(&b, "%v; then in the recovery: ", c.First)
	}
	fmt.Fprintf(&b, "cut after operation %d", c.Index)
	if c.Index > 0 {
		fmt.Fprintf(&b, " (%v)", c.Last)
	}
	fmt.Fprintf(&b, ", unsynced writes: %v", c.Policy)
	if c.Detail != "" {
		b.WriteString(", " + c.Detail)
	}
	return b.String()
}

// EachCrash runs run once on a copy of base and then calls check for each
// disk that a power cut could leave: before, between and after its
// operations, under every settle policy. Disks with the same content and the
// same acknowledgements are one point. It returns the number of points
// checked and run's own error.
//
// One run is enough for all of them because what run did before operation n
// does not depend on what would have happened after it.
func EachCrash(base *Disk, run func(*Disk) error, check func(Crash)) (points int, err error) {
	seen := make(map[point]bool)
	err = eachCrash(base, run, func(c Crash) {
		if p := c.point(); !seen[p] {
			seen[p] = true
			points++
			check(c)
		}
	})
	return points, err
}

// point is what makes two crashes the same: the disk holds the same, and the
// same was promised before.
type point struct {
	content       uint64
	now           promise
	inRecovery    bool
	beforeThatCut promise
}

type promise struct {
	acknowledged int
	done         bool
}

func (c Crash) point() point {
	p := point{content: c.Disk.now.fingerprint(), now: promise{c.Acknowledged, c.Done}}
	if c.First != nil {
		p.inRecovery, p.beforeThatCut = true, promise{c.First.Acknowledged, c.First.Done}
	}
	return p
}

// eachCrash calls visit for each crash, with repetitions.
func eachCrash(base *Disk, run func(*Disk) error, visit func(Crash)) error {
	rec := base.Clone()
	durable := rec.now
	err := run(rec)
	ops, acks := rec.Log(), rec.acks
	geometry := settler{size: base.size, sector: int64(base.sector), physical: int64(base.physical), zeroed: base.zeroed}

	synced, acknowledged := 0, 0 // operations [0, synced) are durable
	for n := 0; n <= len(ops); n++ {
		c := Crash{Index: n, Done: n == len(ops)}
		if n > 0 {
			c.Last = ops[n-1]
			if c.Last.Sync {
				durable = applyAll(durable, ops[synced:n])
				synced = n
			}
		}
		for acknowledged < len(acks) && acks[acknowledged] <= n {
			acknowledged++
		}
		c.Acknowledged = acknowledged
		geometry.settle(durable, ops[synced:n], func(o outcome) {
			c.Policy, c.Detail, c.Disk = o.policy, o.detail, base.with(o.image)
			visit(c)
		})
	}
	return err
}
