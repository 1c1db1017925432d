package update

import (
	"context"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestCrashMarks cuts what only moves marks and records, and asks what the next
// start of the agent makes of it: which slot counts as what, and which one the
// next orderly shutdown would arm.
func TestCrashMarks(t *testing.T) {
	b := newBed(t, 0)
	stations := make(map[Phase]station)
	for _, s := range b.stations(t) {
		stations[s.phase] = s
	}
	failed := stations[PhaseTrial].disk.Clone()
	must(t, mustOpen(t, failed, slot.B, bootctl.WhyTrial).FailTrial(ActionHealth, "ill"))
	committed := stations[PhaseTrial].disk.Clone()
	must(t, mustOpen(t, committed, slot.B, bootctl.WhyTrial).Commit())

	for name, r := range map[string]struct {
		base    *blockdevtest.Disk
		running slot.ID
		run     func(*Updater) error
		// allowed are the states of the other slot at the next start.
		allowed []SlotState
	}{
		"settle a fallback": {failed, slot.A, func(*Updater) error { return nil }, []SlotState{SlotBad}},
		"forget":            {stations[PhaseWritten].disk, slot.A, rollback, []SlotState{SlotWritten, SlotEmpty}},
		"disarm":            {stations[PhaseArmed].disk, slot.A, rollback, []SlotState{SlotTrying, SlotWritten, SlotEmpty}},
		"reopen":            {committed, slot.B, func(u *Updater) error { return u.reopen(slot.A) }, []SlotState{SlotGood, SlotWritten}},
	} {
		t.Run(name, func(t *testing.T) {
			blockdevtest.Campaign{
				Base: r.base.Clone(), Run: at(r.running, bootctl.WhyGood, r.run),
				Check: func(c blockdevtest.Crash) error {
					u, err := updater(c.Disk, r.running, bootctl.WhyGood)
					if err != nil {
						return err
					}
					other := r.running.Other()
					before := u.Facts().SlotState(other)
					for _, want := range r.allowed {
						if before == want {
							return armedOnlyWhenWritten(u, before)
						}
					}
					return fmt.Errorf("slot %v is %v", other, before)
				},
			}.Test(t)
		})
	}
}

// armedOnlyWhenWritten lets the orderly shutdown come.
func armedOnlyWhenWritten(u *Updater, before SlotState) error {
	if err := u.Arm(context.Background()); err != nil {
		return err
	}
	after := u.Facts().SlotState(u.Facts().Target())
	if after != before && (before != SlotWritten || after != SlotTrying) {
		return fmt.Errorf("the shutdown made a slot %v that was %v", after, before)
	}
	return nil
}
