package bootctl_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/slot"
)

// A campaign cuts the power at every write of an operation, and again at
// every write of what follows: the boot, the repair, the operation once more.
type campaign struct {
	name    string
	before  bootctl.State
	running slot.ID
	// prepare changes the disk before the operation; may be nil.
	prepare func(t *testing.T, d *blockdevtest.Disk)
	// op is the operation, on the system that runs.
	op func(st *bootctl.Store, d blockdev.Device, running slot.ID) error
	// again is the kind of boot after which a cut-off operation is done again.
	again bootctl.Why
	// boots are the outcomes that are right after a cut; the last of them is
	// the one that was acknowledged.
	boots []string
	// keeps checks what must hold after any cut; done: op was acknowledged.
	keeps func(t *testing.T, st *bootctl.Store, done bool) error
}

// armed is a boot state in which slot b has three tries, trial the same after
// the first of them.
var (
	armed = bootctl.Arm(good, slot.B, 3)
	trial = bootctl.Arm(good, slot.B, 2)
)

var campaigns = []campaign{
	{
		name: "update", before: good, running: slot.A, op: update, again: bootctl.WhyGood,
		boots: []string{"a (good)", "b (trial)"},
	},
	{
		name: "arm", before: bootctl.Disarm(good, slot.A), running: slot.A, again: bootctl.WhyGood,
		op:    setState(func(s bootctl.State, r slot.ID) bootctl.State { return bootctl.Arm(s, r.Other(), 3) }),
		boots: []string{"a (good)", "b (trial)"},
	},
	{
		name: "disarm", before: armed, running: slot.A, op: setState(bootctl.Disarm), again: bootctl.WhyGood,
		boots: []string{"b (trial)", "a (good)"},
	},
	{
		name: "restore", before: armed, running: slot.A, op: setState(bootctl.Restore), again: bootctl.WhyGood,
		boots: []string{"b (trial)", "a (good)"},
	},
	{
		name: "commit", before: trial, running: slot.B, op: setState(bootctl.Commit), again: bootctl.WhyTrial,
		boots: []string{"b (trial)", "a (good)", "b (good)"}, // a: after a second cut in the last trial
	},
	{
		name: "mark bad", before: trial, running: slot.B, op: setState(bootctl.MarkBad), again: bootctl.WhyTrial,
		boots: []string{"b (trial)", "a (good)"},
	},
	{
		name: "heal", before: bootctl.MarkBad(armed, slot.B), running: slot.A, op: setState(bootctl.Heal), again: bootctl.WhyGood,
		boots: []string{"a (good)"},
	},
	{
		name: "adopt the last resort", before: bootctl.MarkBad(bootctl.MarkBad(good, slot.A), slot.B), running: slot.A,
		op: setState(bootctl.Commit), again: bootctl.WhyLastResort,
		// They take turns. Static: GRUB writes here also when one copy is broken.
		boots: []string{"b (lastresort)", "a (lastresort)", "a (static)", "b (good)", "a (good)"},
	},
	// The repair comes before every operation.
	{
		name: "repair env0", before: good, running: slot.A, prepare: breakEnv(0), op: nothing,
		boots: []string{"a (good)"},
	},
	{
		name: "repair env1", before: good, running: slot.A, prepare: breakEnv(1), op: nothing,
		boots: []string{"a (good)"},
	},
	{
		name: "repair both", before: good, running: slot.A, prepare: breakEnv(0, 1), op: nothing,
		boots: []string{"a (static)", "a (lastresort)", "a (trial)"},
	},
	{
		name: "drop slot b", before: good, running: slot.A, again: bootctl.WhyGood,
		op: func(st *bootctl.Store, _ blockdev.Device, _ slot.ID) error {
			return st.InvalidateArgs(bootctl.SystemB)
		},
		boots: []string{"a (good)"},
		keeps: argsAreOneOf(argsOf(slot.B), nil),
	},
	{
		name: "change args", before: good, running: slot.A, again: bootctl.WhyGood,
		op: func(st *bootctl.Store, _ blockdev.Device, _ slot.ID) error {
			return st.SetArgs(bootctl.SystemB, longArgs)
		},
		boots: []string{"a (good)"},
		keeps: argsAreOneOf(argsOf(slot.B), nil, longArgs),
	},
	{
		name: "record", before: good, running: slot.A, again: bootctl.WhyGood,
		prepare: func(t *testing.T, d *blockdevtest.Disk) { must(t, setRecords(open(t, d), 1, 2)) },
		op:      func(st *bootctl.Store, _ blockdev.Device, _ slot.ID) error { return setRecords(st, 3, 3) },
		boots:   []string{"a (good)"},
		keeps:   keepsRecord,
	},
}

func nothing(*bootctl.Store, blockdev.Device, slot.ID) error { return nil }

// setState makes an operation of a transition.
func setState(next func(bootctl.State, slot.ID) bootctl.State) func(*bootctl.Store, blockdev.Device, slot.ID) error {
	return func(st *bootctl.Store, _ blockdev.Device, running slot.ID) error {
		s, _, err := st.State()
		if err != nil {
			return err
		}
		return st.SetState(next(s, running))
	}
}

// update is the whole way of an update, in its order: the boot state first
// lets go of the slot, the args block goes, the content comes, and back.
func update(st *bootctl.Store, d blockdev.Device, running slot.ID) error {
	s, _, err := st.State()
	if err != nil {
		return err
	}
	target := running.Other()
	system := bootctl.SystemOf(target)
	for _, step := range []func() error{
		func() error { return st.SetState(bootctl.Disarm(s, running)) },
		func() error { return st.InvalidateArgs(system) },
		func() error { return writeSlot(d, target, 2) },
		func() error { return st.SetArgs(system, argsOf(target)) },
		func() error { return st.SetState(bootctl.Arm(s, target, 3)) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func breakEnv(copies ...int) func(*testing.T, *blockdevtest.Disk) {
	return func(t *testing.T, d *blockdevtest.Disk) {
		for _, i := range copies {
			if _, err := d.WriteAt(make([]byte, bootctl.EnvSize), testLayout(t).Env[i].Off); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// boot starts the machine, as a device does after power comes back, and
// checks that a complete system runs.
func boot(t *testing.T, d blockdev.Device) (bootmodel.Outcome, error) {
	o := machine(t, d).BootFully()
	id, ok := o.System.Slot()
	if !ok {
		return o, fmt.Errorf("nothing boots: %v", o)
	}
	if v, whole := slotVersion(d, id); !whole {
		return o, fmt.Errorf("%v boots, and its content is not whole (version %d)", o, v)
	}
	if o.Args != argsOf(id) && o.Args != longArgs {
		return o, fmt.Errorf("%v boots with the arguments %+v", o, o.Args)
	}
	return o, nil
}

// run is what happens on the booted device: repair, then the operation.
func (c campaign) run(t *testing.T, d *blockdevtest.Disk) error {
	st, err := bootctl.Open(d, testLayout(t).State.Off)
	if err != nil {
		return err
	}
	if _, err := st.Repair(bootctl.SystemOf(c.running)); err != nil {
		return err
	}
	return c.op(st, d, c.running)
}

// recover is the device after a cut: it boots, repairs, and does the
// operation again if this is the kind of boot for it.
func (c campaign) recover(t *testing.T, d *blockdevtest.Disk) error {
	o, err := boot(t, d)
	if err != nil {
		return err
	}
	c.running, _ = o.System.Slot()
	if o.Why != c.again {
		c.op = nothing
	}
	return c.run(t, d)
}

// check looks at a disk after a cut; done: the operation was acknowledged
// before it.
func (c campaign) check(t *testing.T, d *blockdevtest.Disk, done bool) (bootmodel.Outcome, error) {
	o, err := boot(t, d)
	if err != nil {
		return o, err
	}
	if !slices.Contains(c.boots, o.String()) {
		return o, fmt.Errorf("%v, want one of %v", o, c.boots)
	}
	if c.keeps != nil {
		return o, c.keeps(t, open(t, d), done)
	}
	return o, nil
}

// acknowledged is the outcome once the operation is acknowledged.
func (c campaign) acknowledged() string { return c.boots[len(c.boots)-1] }

// disk is the disk before the operation.
func (c campaign) disk(t *testing.T, physical int) *blockdevtest.Disk {
	d := newDisk(t, c.before, physical)
	if c.prepare != nil {
		c.prepare(t, d)
	}
	return d.Clone()
}

// eachCampaign runs f in a subtest for each campaign and physical sector.
func eachCampaign(t *testing.T, f func(t *testing.T, c campaign, base *blockdevtest.Disk)) {
	for _, physical := range []int{512, 4096} {
		for _, c := range campaigns {
			t.Run(fmt.Sprintf("%s, sectors of %d", c.name, physical), func(t *testing.T) {
				t.Parallel()
				f(t, c, c.disk(t, physical))
			})
		}
	}
}

// TestCrash cuts at every operation of each campaign, and again at every
// operation of the recovery from each cut, GRUB's own writes included.
func TestCrash(t *testing.T) {
	eachCampaign(t, func(t *testing.T, c campaign, base *blockdevtest.Disk) {
		blockdevtest.Campaign{
			Base:    base,
			Run:     func(d *blockdevtest.Disk) error { return c.run(t, d) },
			Recover: func(d *blockdevtest.Disk) error { return c.recover(t, d) },
			Check:   func(cut blockdevtest.Crash) error { return c.judge(t, cut) },
		}.Test(t)
	})
}

// judge is check, and what was acknowledged must hold.
func (c campaign) judge(t *testing.T, cut blockdevtest.Crash) error {
	if first := cut.First; first != nil {
		o, err := c.check(t, cut.Disk, first.Done)
		if err == nil && first.Done && o.String() != c.acknowledged() {
			err = c.comesBack(t, cut.Disk, o)
		}
		return err
	}
	o, err := c.check(t, cut.Disk, cut.Done)
	if err == nil && cut.Done && o.String() != c.acknowledged() {
		err = fmt.Errorf("%v although acknowledged, want %s", o, c.acknowledged())
	}
	return err
}

// comesBack checks that what was acknowledged holds after the repair. A cut
// that damages a whole copy of the boot state puts a trial off until then:
// GRUB does not risk the other copy.
func (c campaign) comesBack(t *testing.T, d *blockdevtest.Disk, o bootmodel.Outcome) error {
	if _, err := open(t, d).Repair(o.System); err != nil {
		return err
	}
	repaired, err := boot(t, d)
	if err == nil && repaired.String() != c.acknowledged() {
		err = fmt.Errorf("%v and, repaired, %v, although acknowledged; want %s", o, repaired, c.acknowledged())
	}
	return err
}

// TestCrashInGRUB cuts within GRUB's own two writes, from each state in which
// it writes.
func TestCrashInGRUB(t *testing.T) {
	for _, physical := range []int{512, 4096} {
		for _, s := range []bootctl.State{armed, trial, bootctl.Arm(good, slot.B, 1), bootctl.MarkBad(bootctl.MarkBad(good, slot.A), slot.B)} {
			grub := func(d *blockdevtest.Disk) error {
				_, err := boot(t, d)
				return err
			}
			blockdevtest.Campaign{
				Base: newDisk(t, s, physical), Run: grub, Recover: grub,
				Check: func(cut blockdevtest.Crash) error {
					after, _, err := open(t, cut.Disk).State()
					if errors.Is(err, bootctl.ErrBothBroken) && cut.First != nil && !s.A.OK {
						// Two torn sectors in two last resorts in a row: GRUB knows no
						// good slot to lose, and goes on without a boot state.
						return grub(cut.Disk.Clone())
					}
					if err != nil {
						return err
					}
					if after.A.OK != s.A.OK || after.B.OK != s.B.OK || after.B.Tries > s.B.Tries {
						return fmt.Errorf("%+v became %+v", s, after)
					}
					return grub(cut.Disk.Clone())
				},
			}.Test(t)
		}
	}
}

// TestCrashInFormat: a new disk is either set up or has no state file that
// anybody is told of.
func TestCrashInFormat(t *testing.T) {
	format := func(d *blockdevtest.Disk) error { return bootctl.Format(d, testLayout(t), good) }
	blockdevtest.Campaign{
		Base: blockdevtest.New(16<<20, 512), Run: format, Recover: format, // Find looks through all of it
		Check: func(cut blockdevtest.Crash) error {
			off, err := bootctl.Find(cut.Disk)
			if err != nil {
				if cut.Done {
					return err
				}
				return nil
			}
			return formatted(cut.Disk, off)
		},
	}.Test(t)
}

// formatted checks that a disk with a state file is set up.
func formatted(d *blockdevtest.Disk, off int64) error {
	st, err := bootctl.Open(d, off)
	if err != nil {
		return err
	}
	s, _, err := st.State()
	if err != nil {
		return err
	}
	if s != good {
		return fmt.Errorf("a state file, but the boot state is %+v", s)
	}
	for id := bootctl.RecordDevice; id <= bootctl.RecordParity; id++ {
		if _, err := st.Record(id); err != nil {
			return fmt.Errorf("a state file, but %w", err)
		}
	}
	return nil
}
