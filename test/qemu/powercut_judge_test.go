//go:build qemu

package qemu

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/test/qemu/logwrites"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// powerCuts says how much of a recorded life is judged by whom.
type powerCuts struct {
	settled  int // ways to settle the cache, at each write
	finished int // of so many prefixes one is finished by the agent
	boots    int // disks that real GRUB starts from
}

// replay judges a recorded life.
type replay struct {
	*device
	before, path string // the disk before it, and the log of its writes
	log          *logwrites.Log
	acks         []acknowledgement
	rng          *rand.Rand

	judged      map[generation]error
	turns, cuts []sample // what to boot: where the outcome changes, and anywhere
	settled     int      // disks with a cache written out in part
	finished    int
	contents    int // slots looked into
}

func (r *replay) open() *logwrites.Log {
	r.t.Helper()
	f, err := os.Open(r.path)
	r.must(err)
	r.t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	r.must(err)
	log, err := logwrites.Open(f, st.Size())
	r.must(err)
	return log
}

// materialize writes the disk after a cut to a new file.
func (r *replay) materialize(t *testing.T, c logwrites.Cut, path string) {
	t.Helper()
	if err := vm.CopyDisk(path, r.before); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.log.Replay(c, f), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// judgeAll replays the log onto two copies of the disk: one takes each entry in
// turn, the other only what a flush has covered, and, for a moment each, some
// of the rest.
func (r *replay) judgeAll() {
	r.t.Helper()
	prefix, durable := r.scratch("prefix.img"), r.scratch("durable.img")
	var last string
	flushed := 0
	for n := range len(r.log.Entries) + 1 {
		if n > 0 {
			r.checkPlace(n - 1)
			r.must(r.log.Apply(n-1, prefix))
		}
		for ; flushed < r.log.Flushed(n); flushed++ {
			r.must(r.log.Apply(flushed, durable))
		}
		c := logwrites.Cut{Durable: n}
		now := r.judge(prefix, c, n)
		r.cuts = append(r.cuts, sample{fmt.Sprintf("after write %d", n), c})
		if n > 0 && now != last {
			r.turns = append(r.turns, sample{"before " + now, logwrites.Cut{Durable: n - 1}}, sample{"at " + now, c})
		}
		last = now
		if n%cutSize.finished == 0 {
			r.finish(prefix, c)
		}
		// All since the flush is lost. What was acknowledged is not.
		r.judge(durable, logwrites.Cut{Durable: flushed}, n)
		for i, c := range r.log.Settle(n, cutSize.settled, r.rng) {
			undo, err := r.log.Try(c, durable)
			r.must(err)
			r.judge(durable, c, n)
			r.must(undo())
			r.settled++
			r.cuts = append(r.cuts, sample{fmt.Sprintf("in write %d, settled %d", n, i), c})
		}
	}
	r.t.Logf("%d prefixes and %d disks with a cache written out in part; %d slots looked into, %d disks finished by the agent",
		len(r.log.Entries)+1, r.settled, r.contents, r.finished)
}

// scratch is a copy of the disk as it was before.
func (r *replay) scratch(name string) *os.File {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), name)
	r.must(vm.CopyDisk(path, r.before))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	r.must(err)
	r.t.Cleanup(func() { f.Close() })
	return f
}

// judge fails the test unless the disk after a cut before entry n boots what it
// may boot, and unless that is a whole system. It returns what boots.
func (r *replay) judge(disk *os.File, c logwrites.Cut, n int) string {
	r.t.Helper()
	r.disk = disk.Name()
	r.look()
	o := r.model().BootFully()
	if o.System == 0 || o.Why == bootctl.WhyStatic || o.Why == bootctl.WhyLastResort {
		r.t.Errorf("before write %d, %v: GRUB boots %v", n, c, o)
		return o.String()
	}
	if allowed := r.allowed(n); !slices.Contains(allowed, o.String()) {
		r.t.Errorf("before write %d, %v: GRUB boots %v; what was acknowledged allows %v", n, c, o, allowed)
	}
	g := r.generation(c, o.System)
	err, known := r.judged[g]
	if !known {
		err = r.checkSlot(disk.Name(), o.System)
		r.contents++
		if !g.mixed {
			r.judged[g] = err
		}
		if err != nil {
			r.t.Errorf("before write %d, %v: %v boots, and it is no whole system: %v", n, c, o, err)
		}
	}
	return o.String()
}

// allowed is what may boot after a cut before entry n: what the last
// acknowledgement promised, or the next one would.
func (r *replay) allowed(n int) []string {
	k := 0
	for k+1 < len(r.acks) && r.acks[k+1].entries <= n {
		k++
	}
	list := []string{r.acks[k].what}
	if k+1 < len(r.acks) {
		list = append(list, r.acks[k+1].what)
	}
	return list
}

// generation names the content of a slot on a disk: disks with the same one
// need one look.
type generation struct {
	system bootctl.System
	last   int  // the last durable entry that wrote to the slot
	mixed  bool // pieces came after it: a content of its own
}

func (r *replay) generation(c logwrites.Cut, sys bootctl.System) generation {
	part := r.slotPart(sys)
	in := func(i int) bool {
		e := r.log.Entries[i]
		return e.Len > 0 && e.Off < r.parts[part]+r.sizes[part] && e.Off+e.Len > r.parts[part]
	}
	g := generation{system: sys, last: -1}
	for i := range c.Durable {
		if in(i) {
			g.last = i
		}
	}
	for _, p := range c.Pieces {
		g.mixed = g.mixed || in(p.Entry)
	}
	return g
}

// checkPlace fails for a write outside of the slots and of the files in abboot
// that are written in place.
func (r *replay) checkPlace(i int) {
	r.t.Helper()
	e := r.log.Entries[i]
	if e.Len == 0 {
		return
	}
	allowed := append([]bootctl.Extent{r.layout.State}, r.layout.Env[:]...)
	allowed = append(allowed, r.layout.Args[:]...)
	for _, part := range []int{r.layout.APart, r.layout.BPart} {
		allowed = append(allowed, bootctl.Extent{Off: r.parts[part], Len: r.sizes[part]})
	}
	for _, a := range allowed {
		if e.Off >= a.Off && e.Off+e.Len <= a.End() {
			return
		}
	}
	r.t.Errorf("write %d to bytes [%d, %d) belongs nowhere", i, e.Off, e.Off+e.Len)
}
