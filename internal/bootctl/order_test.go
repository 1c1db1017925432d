package bootctl_test

import (
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/slot"
)

// eachState calls f with every boot state there is.
func eachState(f func(bootctl.State)) {
	for _, primary := range slot.All {
		for a := range 20 {
			for b := range 20 {
				for _, kind := range []bootctl.Kind{bootctl.KindSlot, bootctl.KindOld} {
					for _, mig := range []bool{false, true} {
						f(bootctl.State{
							Seq: 42, Primary: primary, BKind: kind, Migrate: mig,
							A: bootctl.Flags{OK: a >= 10, Tries: a % 10}, B: bootctl.Flags{OK: b >= 10, Tries: b % 10},
						})
					}
				}
			}
		}
	}
}

// bareDisk holds a boot state and valid args blocks for every system.
type bareDisk struct {
	*blockdevtest.Disk
	layout bootctl.Layout
}

func newBareDisk(t *testing.T) bareDisk {
	t.Helper()
	d := blockdevtest.New(diskSize, blockdev.SectorSize)
	l := testLayout(t)
	must(t, bootctl.Format(d, l, good))
	st := open(t, d)
	for _, s := range bootctl.Systems {
		must(t, st.SetArgs(s, bootctl.Args{}))
	}
	return bareDisk{d, l}
}

// with returns the disk with another boot state and an empty log.
func (b bareDisk) with(s bootctl.State) bareDisk {
	for _, e := range b.layout.Env {
		if _, err := b.WriteAt(s.Encode(), e.Off); err != nil {
			panic(err)
		}
	}
	return bareDisk{b.Clone(), b.layout}
}

// state returns the boot state, which both copies must agree on.
func (b bareDisk) state(t *testing.T) bootctl.State {
	t.Helper()
	var copies [2]bootctl.State
	for i, e := range b.layout.Env {
		block := make([]byte, bootctl.EnvSize)
		if _, err := b.ReadAt(block, e.Off); err != nil {
			t.Fatal(err)
		}
		var err error
		if copies[i], err = bootctl.ParseEnv(block); err != nil || copies[i] != copies[0] {
			t.Fatalf("GRUB leaves env0 %+v and env%d %+v, %v", copies[0], i, copies[i], err)
		}
	}
	return copies[0]
}

func (b bareDisk) boot(files map[bootctl.System]bootmodel.Files) bootmodel.Outcome {
	return bootmodel.Machine{Dev: b, Layout: b.layout, Files: func(s bootctl.System) bootmodel.Files { return files[s] }}.Boot()
}

// subsets are the systems that can be complete, 16 sets.
func subsets() (sets []map[bootctl.System]bootmodel.Files) {
	for mask := range 1 << len(bootctl.Systems) {
		set := make(map[bootctl.System]bootmodel.Files)
		for i, s := range bootctl.Systems {
			if mask&(1<<i) != 0 {
				set[s] = bootmodel.Loadable
			}
		}
		sets = append(sets, set)
	}
	return sets
}

// TestEveryStateBoots checks, for every boot state and every set of complete
// systems, what one GRUB session boots and what it writes.
func TestEveryStateBoots(t *testing.T) {
	t.Parallel()
	disk := newBareDisk(t)
	n := 0
	eachState(func(s bootctl.State) {
		for _, files := range subsets() {
			n++
			complete := make(map[bootctl.System]bool)
			for sys := range files {
				complete[sys] = true
			}
			d := disk.with(s)
			o, want := d.boot(files), bootctl.Next(s, complete)
			where := fmt.Sprintf("%+v with %v complete", s, complete)
			if o.System != want.System || o.Why != want.Why {
				t.Fatalf("%s: GRUB boots %v, Next says %v (%v)", where, o, want.System, want.Why)
			}
			if (o.System == 0) != (len(reachable(s, complete)) == 0) {
				t.Fatalf("%s: GRUB boots %v", where, o)
			}
			checkWrites(t, where, s, d, want)
		}
	})
	t.Logf("%d combinations", n)
}

// reachable returns the complete systems that the boot state can lead to. The
// only one it cannot is slot b while the old system has its place.
func reachable(s bootctl.State, complete map[bootctl.System]bool) (systems []bootctl.System) {
	for sys := range complete {
		if sys != bootctl.SystemB || s.BKind == bootctl.KindSlot {
			systems = append(systems, sys)
		}
	}
	return systems
}

// checkWrites checks what a session that booted c has done to state s.
func checkWrites(t *testing.T, where string, s bootctl.State, d bareDisk, c bootctl.Choice) {
	t.Helper()
	want := s
	switch {
	case c.Counted && c.Slot == slot.A:
		want.A.Tries--
	case c.Counted:
		want.B.Tries--
	case c.Why == bootctl.WhyLastResort && c.Slot.Valid():
		want.Primary = c.Slot
	}
	if want == s && d.Ops() != 0 {
		t.Fatalf("%s: GRUB boots %v and writes, want nothing written", where, c)
	}
	if got := d.state(t); got != want {
		t.Fatalf("%s: GRUB leaves %+v, want %+v", where, got, want)
	}
}

// TestNothingLoopsForever lets every boot die silently, over and over: each
// trial ends, a good system stays good, and what is not good takes turns.
func TestNothingLoopsForever(t *testing.T) {
	t.Parallel()
	disk := newBareDisk(t)
	files := map[bootctl.System]bootmodel.Files{bootctl.SystemA: bootmodel.Loadable, bootctl.SystemB: bootmodel.Loadable, bootctl.SystemOld: bootmodel.Loadable, bootctl.SystemMigrator: bootmodel.Loadable}
	eachState(func(s bootctl.State) {
		d := disk.with(s)
		var o bootmodel.Outcome
		for trials := 0; ; trials++ {
			before := d.state(t)
			o = d.boot(files)
			if after := d.state(t); after.A.Tries+after.B.Tries == before.A.Tries+before.B.Tries {
				break
			}
			if trials > 2*bootctl.MaxTries {
				t.Fatalf("%+v: still %v after %d trials", s, o, trials)
			}
		}
		after := d.state(t)
		if after.A.OK != s.A.OK || after.B.OK != s.B.OK {
			t.Fatalf("%+v became %+v although nothing was found bad", s, after)
		}
		next := d.boot(files)
		switch o.Why {
		case bootctl.WhyGood, bootctl.WhyMigrate:
			if next.System != o.System {
				t.Fatalf("%+v: %v and then %v: a good system was left", s, o, next)
			}
		case bootctl.WhyLastResort:
			if again := d.boot(files); next.System == o.System || again.System != o.System {
				t.Fatalf("%+v: last resorts %v, %v, %v do not take turns", s, o, next, again)
			}
		case bootctl.WhyTrial, bootctl.WhyStatic, bootctl.WhyCore:
			t.Fatalf("%+v: ends in %v", s, o)
		}
	})
}

// TestFailureAfterLinux has one system fail when its kernel is loaded
// already: GRUB marks it bad, resets, and reaches another one that works.
func TestFailureAfterLinux(t *testing.T) {
	t.Parallel()
	disk := newBareDisk(t)
	eachState(func(s bootctl.State) {
		second := bootctl.SystemB
		if s.BKind == bootctl.KindOld {
			second = bootctl.SystemOld
		}
		for _, works := range []bootctl.System{bootctl.SystemA, second} {
			for _, how := range []bootmodel.Files{bootmodel.BadKernel, bootmodel.BadInitramfs} {
				files := map[bootctl.System]bootmodel.Files{bootctl.SystemA: how, second: how, bootctl.SystemMigrator: how}
				files[works] = bootmodel.Loadable
				d := disk.with(s)
				m := bootmodel.Machine{Dev: d, Layout: d.layout, Files: func(s bootctl.System) bootmodel.Files { return files[s] }}
				if o := m.BootFully(); o.System != works {
					t.Fatalf("%+v: %v, want %v, the only one that loads", s, o, works)
				}
			}
		}
	})
}

// TestUnkeptTryIsNoTrial has a disk that does not keep what GRUB writes.
func TestUnkeptTryIsNoTrial(t *testing.T) {
	t.Parallel()
	disk := newBareDisk(t)
	files := map[bootctl.System]bootmodel.Files{bootctl.SystemA: bootmodel.Loadable, bootctl.SystemB: bootmodel.Loadable}
	eachState(func(s bootctl.State) {
		d := disk.with(s)
		d.Fail(0, fmt.Errorf("write protected"), true)
		if o := d.boot(files); o.Why == bootctl.WhyTrial || o.System == 0 {
			t.Fatalf("%+v: %v from a disk that cannot be written", s, o)
		}
	})
}

func TestStaticOrder(t *testing.T) {
	disk := newBareDisk(t)
	for _, e := range disk.layout.Env {
		if _, err := disk.WriteAt(make([]byte, bootctl.EnvSize), e.Off); err != nil {
			t.Fatal(err)
		}
	}
	for _, files := range subsets() {
		want := bootctl.System(0)
		for _, s := range bootctl.Systems {
			if want == 0 && files[s] == bootmodel.Loadable {
				want = s
			}
		}
		d := bareDisk{disk.Clone(), disk.layout}
		if o := d.boot(files); o.System != want || want != 0 && (o.Why != bootctl.WhyStatic || o.Seq != "0") || d.Ops() != 0 {
			t.Errorf("with %v: %v with seq %s and %d writes, want %v", files, o, o.Seq, d.Ops(), want)
		}
	}
}

// TestCmdlineOfEachBoot reads back what grub.cfg tells the kernel.
func TestCmdlineOfEachBoot(t *testing.T) {
	disk := newBareDisk(t)
	eachState(func(s bootctl.State) {
		d := disk.with(s)
		o := d.boot(map[bootctl.System]bootmodel.Files{bootctl.SystemA: bootmodel.Loadable, bootctl.SystemMigrator: bootmodel.Loadable})
		c, err := bootctl.ParseCmdline(o.Cmdline(d.layout))
		if err != nil || c.System != o.System || c.Why != o.Why || c.Seq != s.Seq || c.StateLBA*512 != d.layout.State.Off {
			t.Fatalf("%+v: %q was read as %+v, %v", s, o.Cmdline(d.layout), c, err)
		}
	})
}
