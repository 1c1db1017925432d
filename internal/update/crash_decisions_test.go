package update

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// decision is a command that moves only the boot state and the records (or
// begins with that), on a disk that it makes sense on, and what boots before
// and after it.
type decision struct {
	base          *blockdevtest.Disk
	run           func(*blockdevtest.Disk) error
	before, after slot.ID
	// hurried: nothing may keep a failed trial from its end, not even a line of
	// the history that cannot be written: that is a notice, and no error.
	hurried bool
}

// decisions are all that there are.
func (b *bed) decisions(t *testing.T) map[string]decision {
	t.Helper()
	ctx := context.Background()

	armed := b.base.Clone()
	u := mustOpen(t, armed, slot.A, bootctl.WhyGood)
	_, err := apply(u, b.path, ApplyOptions{})
	must(t, err)
	written := armed.Clone()
	must(t, u.Arm(ctx))
	armed = armed.Clone()
	trial := armed.Clone()
	spendTry(t, mustOpen(t, trial, slot.A, bootctl.WhyGood))
	trial = trial.Clone()
	committed := trial.Clone()
	must(t, mustOpen(t, committed, slot.B, bootctl.WhyTrial).Commit())
	failed := trial.Clone()
	must(t, mustOpen(t, failed, slot.B, bootctl.WhyTrial).FailTrial(ActionHealth, "ill"))

	third := b.v.bundleFile(t, content("3", 2*mib), func(o *bundle.CreateOptions) { o.Version = "3.0.0" })
	applyThird := func(u *Updater) error { _, err := apply(u, third, ApplyOptions{}); return err }
	arm := func(u *Updater) error { return u.Arm(ctx) }
	ill := func(u *Updater) error { return u.FailTrial(ActionHealth, "ill") }

	return map[string]decision{
		"apply over a good one":   {committed, at(slot.B, bootctl.WhyGood, applyThird), slot.B, slot.B, false},
		"apply over an armed one": {armed, at(slot.A, bootctl.WhyGood, applyThird), slot.B, slot.A, false},
		"arm":                     {written, at(slot.A, bootctl.WhyGood, arm), slot.A, slot.B, false},
		"forget":                  {written, at(slot.A, bootctl.WhyGood, rollback), slot.A, slot.A, false},
		"disarm":                  {armed, at(slot.A, bootctl.WhyGood, rollback), slot.B, slot.A, false},
		"commit":                  {trial, at(slot.B, bootctl.WhyTrial, (*Updater).Commit), slot.B, slot.B, false},
		"roll back a trial":       {trial, at(slot.B, bootctl.WhyTrial, rollback), slot.B, slot.A, true},
		"fail a trial":            {trial, at(slot.B, bootctl.WhyTrial, ill), slot.B, slot.A, true},
		"roll back":               {committed, at(slot.B, bootctl.WhyGood, rollback), slot.B, slot.A, false},
		"settle a fallback":       {failed, at(slot.A, bootctl.WhyGood, func(*Updater) error { return nil }), slot.A, slot.A, false},
	}
}

// TestCrashDecisions cuts the power at every write of the commands that move
// only the boot state and the records, and again in the boot that follows.
func TestCrashDecisions(t *testing.T) {
	b := newBed(t, 0)
	for name, r := range b.decisions(t) {
		t.Run(name, func(t *testing.T) {
			recoveries := 0 // all
			if strings.HasPrefix(name, "apply") {
				recoveries = 20 // these write data, too
			}
			blockdevtest.Campaign{
				Base: r.base, Run: r.run, Recoveries: recoveries,
				Recover: func(disk *blockdevtest.Disk) error {
					id, why, err := b.powerOn(disk)
					if err != nil {
						return err
					}
					_, err = updater(disk, id, why)
					return err
				},
				Check: func(c blockdevtest.Crash) error {
					id, why, err := b.powerOn(c.Disk)
					if err != nil {
						return err
					}
					done := c.Done && c.First == nil || c.First != nil && c.First.Done
					if id != r.after && (done || id != r.before) {
						return fmt.Errorf("slot %v boots (%v); acknowledged: %v", id, why, done)
					}
					return nil
				},
			}.Test(t)
		})
	}
}

// TestFaultDecisions fails the Nth operation of the same commands, for N = 0,
// 1, … until a run has no fault, in every way that there is: the error is said,
// a complete system boots, and the same command on a disk that works again
// finishes the job.
func TestFaultDecisions(t *testing.T) {
	b := newBed(t, 0)
	for name, r := range b.decisions(t) {
		if strings.HasPrefix(name, "apply") && blockdevtest.Scale() == 1 {
			continue // each operation is an update: TestFaultUpdate has a look
		}
		t.Run(name, func(t *testing.T) {
			operations := 0
			for kind, fault := range blockdevtest.Faults() {
				for fault.At = 0; b.decisionFails(t, kind, r, fault); fault.At++ {
					operations++
				}
			}
			t.Logf("%d operations failed in turn", operations)
		})
	}
}

// decisionFails runs a command with a fault, and reports whether the fault
// struck.
func (b *bed) decisionFails(t *testing.T, kind string, r decision, fault blockdevtest.Fault) bool {
	t.Helper()
	disk := r.base.Clone()
	disk.Inject(fault)
	err := r.run(disk)
	if disk.Ops() <= fault.At {
		must(t, err)
		return false
	}
	if fault.Only != nil && err == nil {
		return true // no operation of that kind was left to fail
	}
	what := fmt.Sprintf("%s, operation %d", kind, fault.At)
	said := errors.Is(err, fault.Err) && (errors.Is(err, ErrWrite) || errors.Is(err, bootctl.ErrBootState))
	if !said && (err != nil || !r.hurried) {
		t.Fatalf("%s: the error is neither about the slot nor about the boot state: %v", what, err)
	}
	disk = disk.Clone()
	id, why, err := b.powerOn(disk.Clone())
	if err != nil || id != r.after && (id != r.before || !said) {
		t.Fatalf("%s: slot %v boots (%v), %v", what, id, why, err)
	}
	if r.before != r.after && id == r.after {
		return true // done all the same; to say it again might mean the way back
	}
	if err := r.run(disk); err != nil && !errors.Is(err, ErrNothing) {
		t.Fatalf("%s: again: %v", what, err)
	}
	if id, why, err := b.powerOn(disk.Clone()); err != nil || id != r.after {
		t.Fatalf("%s: again: slot %v boots (%v), %v", what, id, why, err)
	}
	return true
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
	_, err := u.Rollback(context.Background(), false)
	return err
}
