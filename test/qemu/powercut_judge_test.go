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
	"time"

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
	dir          string // for files of the moment
	before, path string // the disk before it, and the log of its writes
	log          *logwrites.Log
	set          map[string]string // what the customer configured
	acks         []acknowledgement
	rng          *rand.Rand

	whole       map[generation]bool // slots that were looked into
	turns, cuts []sample            // what to boot: where the outcome changes, and anywhere
	settled     int                 // disks with a cache written out in part
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
	flushed, begin := 0, time.Now()
	for n := range len(r.log.Entries) + 1 {
		if n > 0 {
			r.checkPlace(n - 1)
			r.must(r.log.Apply(n-1, prefix))
		}
		for ; flushed < r.log.Flushed(n); flushed++ {
			r.must(r.log.Apply(flushed, durable))
		}
		c := logwrites.Cut{Durable: n}
		now := r.expectSound(prefix, c, n)
		r.cuts = append(r.cuts, sample{fmt.Sprintf("after write %d", n), c})
		if n > 0 && now != last {
			r.turns = append(r.turns, sample{"before " + now, logwrites.Cut{Durable: n - 1}}, sample{"at " + now, c})
		}
		last = now
		if n%cutSize.finished == 0 {
			r.finish(prefix, c)
		}
		// All since the flush is lost. What was acknowledged is not.
		r.expectSound(durable, logwrites.Cut{Durable: flushed}, n)
		for i, c := range r.log.Settle(n, cutSize.settled, r.rng) {
			undo, err := r.log.Try(c, durable)
			r.must(err)
			r.expectSound(durable, c, n)
			r.must(undo())
			r.settled++
			r.cuts = append(r.cuts, sample{fmt.Sprintf("in write %d, settled %d", n, i), c})
		}
	}
	r.wouldNotice()
	r.t.Logf("%d prefixes and %d disks with a cache written out in part, judged in %.0f s; %d slots looked into, %d disks finished by the agent",
		len(r.log.Entries)+1, r.settled, time.Since(begin).Seconds(), r.contents, r.finished)
}

// scratch is a copy of the disk as it was before.
func (r *replay) scratch(name string) *os.File {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	r.must(vm.CopyDisk(path, r.before))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	r.must(err)
	r.t.Cleanup(func() { f.Close() })
	return f
}

// expectSound fails the test if the disk after a cut before entry n is not as it
// must be. It returns what boots.
func (r *replay) expectSound(disk *os.File, c logwrites.Cut, n int) string {
	r.t.Helper()
	what, err := r.judge(disk, c, n)
	if err != nil {
		r.t.Errorf("before write %d, %v: %v", n, c, err)
	}
	return what
}

// judge tells what the disk after a cut before entry n boots, and what is wrong
// with it: that this may not boot, or is no whole system.
func (r *replay) judge(disk *os.File, c logwrites.Cut, n int) (string, error) {
	r.t.Helper()
	r.disk = disk.Name()
	r.look()
	complete := r.complete(bootctl.SystemB)
	o := r.model().BootFully()
	if o.System == 0 || o.Why == bootctl.WhyStatic || o.Why == bootctl.WhyLastResort {
		return o.String(), fmt.Errorf("GRUB boots %v", o)
	}
	if allowed := r.allowed(n); !slices.Contains(allowed, o.String()) {
		return o.String(), fmt.Errorf("GRUB boots %v; what was acknowledged allows %v", o, allowed)
	}
	if err := r.checkWhole(disk, c, o.System); err != nil {
		return o.String(), fmt.Errorf("%v boots, and it is no whole system: %w", o, err)
	}
	// Slot b is where the configuration is restored to.
	if o.System != bootctl.SystemB && complete {
		if err := r.checkWhole(disk, c, bootctl.SystemB); err != nil {
			return o.String(), fmt.Errorf("slot b counts as complete, and it is no whole system: %w", err)
		}
	}
	return o.String(), nil
}

// checkWhole looks into a system's slot, once for each content.
func (r *replay) checkWhole(disk *os.File, c logwrites.Cut, sys bootctl.System) error {
	g := r.generation(c, sys)
	if r.whole[g] {
		return nil
	}
	r.contents++
	if err := r.checkSlot(disk.Name(), sys); err != nil {
		return err
	}
	r.whole[g] = !g.mixed
	return nil
}

// wouldNotice fails the test unless a disk that ignores flushes is found out,
// when slot b has just been committed.
func (r *replay) wouldNotice() {
	r.t.Helper()
	lying := *r.log
	lying.Entries = slices.Clone(r.log.Entries)
	for i := range lying.Entries {
		lying.Entries[i].Flags &^= logwrites.Flush
	}
	n, disk, caught := r.acks[committedB].entries, r.scratch("lying.img"), 0
	for _, c := range lying.Settle(n, lies, r.rng) {
		undo, err := lying.Try(c, disk)
		r.must(err)
		if _, err := r.judge(disk, c, n); err != nil {
			caught++
		}
		r.must(undo())
	}
	if caught == 0 {
		r.t.Errorf("the disk ignores each flush in %d ways, and the judge has found nothing", lies)
	}
}

// lies is how often wouldNotice tries.
const lies = 6

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
