package update

import (
	"context"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// booted returns which slot the disk boots, and fails the test unless that
// slot holds a complete system.
func booted(t *testing.T, c blockdevtest.Crash, images map[slot.ID][][]byte) (slot.ID, bootctl.Why) {
	t.Helper()
	dev := &Device{disk: c.Disk}
	if err := dev.openOffline(); err != nil {
		t.Fatalf("%v: nothing boots: %v", c, err)
	}
	for _, image := range images[dev.Running] {
		if holds(t, c.Disk, dev.Running, image) {
			return dev.Running, dev.Why
		}
	}
	t.Fatalf("%v: slot %v boots (%v) but holds no complete system", c, dev.Running, dev.Why)
	return 0, 0
}

// TestCrashUpdate cuts the power at every write of an update, from apply to
// the armed trial: one complete system boots, and the same commands run again
// finish the job.
func TestCrashUpdate(t *testing.T) {
	v := newVendor(t)
	v1, v2 := content("1", 2*mib), content("2", 2*mib+512)
	base := v.newDisk(t, v1)
	path := v.bundleFile(t, v2, nil)
	run := func(disk *blockdevtest.Disk) error {
		u, err := updater(disk, slot.A, bootctl.WhyGood)
		if err != nil {
			return err
		}
		if u.Facts().Phase() != PhaseArmed {
			if _, err := apply(u, path, ApplyOptions{}); err != nil {
				return err
			}
		}
		return u.Arm(context.Background())
	}
	images := map[slot.ID][][]byte{slot.A: {v1}, slot.B: {v2}}
	points, err := blockdevtest.EachCrash(base, run, func(c blockdevtest.Crash) {
		id, why := booted(t, c, images)
		switch {
		case id == slot.B && why != bootctl.WhyTrial:
			t.Fatalf("%v: slot b boots without a trial (%v)", c, why)
		case c.Done && id != slot.B:
			t.Fatalf("%v: the arm was acknowledged, but slot %v boots", c, id)
		case id == slot.B:
			return
		}
		// The command run again finishes the job; sampled, as each is an update.
		if c.Index%7 == 0 {
			if err := run(c.Disk); err != nil {
				t.Fatalf("%v: run again: %v", c, err)
			}
			if id, _ := booted(t, c, images); id != slot.B {
				t.Fatalf("%v: run again: slot %v boots", c, id)
			}
		}
	})
	must(t, err)
	t.Logf("crash: %d points", points)
}

// TestCrashDecisions cuts the power at every write of the commands that move
// only the boot state and the records.
func TestCrashDecisions(t *testing.T) {
	v := newVendor(t)
	v1, v2 := content("1", 2*mib), content("2", 2*mib)
	images := map[slot.ID][][]byte{slot.A: {v1}, slot.B: {v2}}
	ctx := context.Background()

	armed := v.newDisk(t, v1)
	u := mustOpen(t, armed, slot.A, bootctl.WhyGood)
	path := v.bundleFile(t, v2, nil)
	_, err := apply(u, path, ApplyOptions{})
	must(t, err)
	written := armed.Clone()
	must(t, u.Arm(ctx))
	trial := armed.Clone()
	spendTry(t, mustOpen(t, trial, slot.A, bootctl.WhyGood))
	committed := trial.Clone()
	must(t, mustOpen(t, committed, slot.B, bootctl.WhyTrial).Commit())
	failed := trial.Clone()
	must(t, mustOpen(t, failed, slot.B, bootctl.WhyTrial).FailTrial(ActionHealth, "ill"))

	rows := map[string]struct {
		base          *blockdevtest.Disk
		run           func(*blockdevtest.Disk) error
		before, after slot.ID
	}{
		"arm":               {written, at(slot.A, bootctl.WhyGood, func(u *Updater) error { return u.Arm(ctx) }), slot.A, slot.B},
		"forget":            {written, at(slot.A, bootctl.WhyGood, rollback), slot.A, slot.A},
		"disarm":            {armed, at(slot.A, bootctl.WhyGood, rollback), slot.B, slot.A},
		"commit":            {trial, at(slot.B, bootctl.WhyTrial, (*Updater).Commit), slot.B, slot.B},
		"roll back a trial": {trial, at(slot.B, bootctl.WhyTrial, rollback), slot.B, slot.A},
		"roll back":         {committed, at(slot.B, bootctl.WhyGood, rollback), slot.B, slot.A},
		"settle a fallback": {failed, at(slot.A, bootctl.WhyGood, func(*Updater) error { return nil }), slot.A, slot.A},
	}
	total := 0
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			points, err := blockdevtest.EachCrash(r.base, r.run, func(c blockdevtest.Crash) {
				id, _ := booted(t, c, images)
				if id != r.before && id != r.after {
					t.Fatalf("%v: slot %v boots", c, id)
				}
				if c.Done && id != r.after {
					t.Fatalf("%v: acknowledged, but slot %v boots", c, id)
				}
			})
			must(t, err)
			total += points
		})
	}
	t.Logf("crash: %d points", total)
}

// at runs f on the device as booted from a slot.
func at(id slot.ID, why bootctl.Why, f func(*Updater) error) func(*blockdevtest.Disk) error {
	return func(disk *blockdevtest.Disk) error {
		u, err := updater(disk, id, why)
		if err != nil {
			return err
		}
		return f(u)
	}
}

func rollback(u *Updater) error {
	_, err := u.Rollback(context.Background())
	return err
}
