package update

import (
	"context"
	"fmt"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// Arm makes the slot that was written the next to boot, for a trial. It runs
// in the orderly shutdown, so that nothing configured before that is lost,
// and does nothing when no slot waits.
func (u *Updater) Arm(ctx context.Context) error {
	step, err := Decide(u.facts, CommandArm)
	if err != nil || step == StepNothing {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	target := u.facts.Target()
	args, err := u.dev.Store.Args(bootctl.SystemOf(u.facts.Running))
	if err != nil {
		return fmt.Errorf("reading the kernel arguments of the running slot %v: %w", u.facts.Running, err)
	}
	if u.preserving(target) == PreserveDone {
		// The slot may be complete from an arming that was cut: while its files
		// change it must not look so.
		if err := u.dev.Store.InvalidateArgs(bootctl.SystemOf(target)); err != nil {
			return err
		}
		more, err := u.restore(ctx, target)
		if err != nil {
			return fmt.Errorf("carrying the configuration into slot %v: %w", target, err)
		}
		args.Device = addArgs(args.Device, more)
	}
	if im, ok := rootOf(u.facts.Slot(target).Manifest); ok {
		args.Image = im.KernelArgs
	}
	// The args block is the slot's completeness mark. A cut after this write
	// leaves a complete slot that nothing boots yet: the slot still counts as
	// written, and the next orderly shutdown arms it.
	if err := u.dev.Store.SetArgs(bootctl.SystemOf(target), args); err != nil {
		return err
	}
	return u.arm(target, ActionArm)
}

// arm gives target its trial boots.
func (u *Updater) arm(target slot.ID, action Action) error {
	// COMMIT POINT: SetState writes one sector. A cut before it boots the
	// running slot, a cut after it the trial.
	if err := u.setBoot(bootctl.Arm(u.facts.Boot, target, u.o.Tries)); err != nil {
		return err
	}
	version := ""
	if m := u.facts.Slot(target).Manifest; m != nil {
		version = m.Version
	}
	if err := u.record(Result{Action: action, Slot: target.String(), Version: version, Message: "the next boot is its trial"}); err != nil {
		return err
	}
	return u.refresh()
}

// Commit makes the running slot good, and moves the device's trust to that of
// its bundle.
func (u *Updater) Commit() error {
	if _, err := Decide(u.facts, CommandCommit); err != nil {
		return err
	}
	running := u.facts.Running
	// COMMIT POINT: one sector. A cut before it leaves the trial; after it the
	// slot is good, and the records below are made up for at the next start.
	if err := u.setBoot(bootctl.Commit(u.facts.Boot, running)); err != nil {
		return err
	}
	if err := u.refresh(); err != nil {
		return err
	}
	if err := u.trust.store(u.dev.Store); err != nil {
		return err
	}
	s := u.facts.Slot(running)
	version := ""
	if s.Record != nil && s.Manifest != nil {
		version = s.Manifest.Version
		s.Record.State, s.Record.Committed = RecordWritten, true
		if err := u.setRecord(running, s.Record); err != nil {
			return err
		}
	}
	u.forgetRestore()
	return u.record(Result{Action: ActionCommit, Slot: running.String(), Version: version, Message: "good"})
}

// Rollback leads back to the other system, or gives up an update that has not
// been booted. It returns what it did; StepFailTrial and StepArmOther take a
// reboot to come true.
//
// With carry the other system gets the configuration of this one before it is
// armed.
func (u *Updater) Rollback(ctx context.Context, carry bool) (Step, error) {
	step, err := Decide(u.facts, CommandRollback)
	if err != nil {
		return 0, err
	}
	switch step {
	case StepArmOther:
		return step, u.armOther(ctx, carry)
	case StepForget:
		return step, u.drop(ActionRollback, 0, "the slot just written was given up")
	case StepDisarm:
		return step, u.disarm()
	case StepFailTrial:
		return step, u.FailTrial(ActionRollback, "rolled back by request")
	case StepBackToOld:
		if carry {
			return 0, fmt.Errorf("%w: the system from before the migration keeps its own configuration: roll back without --carry-config", ErrUsage)
		}
		return step, u.backToOld("rolled back by request")
	case StepWrite, StepArmWritten, StepCommit, StepNothing:
	}
	return 0, fmt.Errorf("internal error: rollback decided on step %d", step)
}

func (u *Updater) armOther(ctx context.Context, carry bool) error {
	other := u.facts.Target()
	if m := u.facts.Slot(other).Manifest; m != nil && m.Epoch < u.trust.Epoch {
		return withHint(fmt.Errorf("%w: version %s in slot %v has epoch %d, and this device accepts %d and later",
			ErrDowngrade, m.Version, other, m.Epoch, u.trust.Epoch),
			"install a current version: abupdate apply")
	}
	if !carry {
		return u.arm(other, ActionRollback)
	}
	if !u.facts.Slot(other).whole() {
		return withHint(fmt.Errorf("%w: what slot %v holds is not known well enough to change it", ErrNothing, other),
			"roll back without --carry-config, or install a version anew: abupdate apply")
	}
	if _, err := u.PlanPreserve(ctx); err != nil {
		return fmt.Errorf("planning what to carry into slot %v: %w", other, err) // nothing has changed yet
	}
	if err := u.reopen(other); err != nil {
		return err
	}
	return u.Arm(ctx)
}

// reopen makes the other slot, a good one, one that was just written: a cut
// leaves it waiting for the orderly shutdown, which restores and arms it.
func (u *Updater) reopen(other slot.ID) error {
	// First the record: a cut behind it leaves the slot as good as it was, for
	// GRUB goes by the boot state alone.
	r := u.facts.Slot(other).Record
	r.Committed, r.NoPreserve = false, false
	if err := u.setRecord(other, r); err != nil {
		return err
	}
	if err := u.setBoot(bootctl.Disarm(u.facts.Boot, u.facts.Running)); err != nil {
		return err
	}
	return u.refresh()
}

// disarm undoes an arm. A slot that had been good before (armed by rollback)
// is good again; one that was never booted is given up.
func (u *Updater) disarm() error {
	other := u.facts.Target()
	s := u.facts.Slot(other)
	if s.Record == nil || !s.Record.Committed {
		return u.drop(ActionRollback, 0, "disarmed and given up before its first boot")
	}
	if err := u.setBoot(bootctl.Restore(u.facts.Boot, u.facts.Running)); err != nil {
		return err
	}
	if err := u.record(Result{Action: ActionRollback, Slot: other.String(), Version: s.Manifest.Version, Message: "disarmed"}); err != nil {
		return err
	}
	return u.refresh()
}

// drop gives up the content of the target slot. Each line is durable before
// the next; a cut between them leaves a slot that does not boot.
func (u *Updater) drop(action Action, code int, why string) error {
	target := u.facts.Target()
	if err := u.setBoot(bootctl.Disarm(u.facts.Boot, u.facts.Running)); err != nil {
		return err
	}
	if err := u.dev.Store.InvalidateArgs(bootctl.SystemOf(target)); err != nil {
		return err
	}
	s := u.facts.Slot(target)
	version := ""
	if s.Record != nil {
		version = s.Manifest.Version
		s.Record.State = RecordEmpty
		if err := u.setRecord(target, s.Record); err != nil {
			return err
		}
	}
	if err := u.record(Result{Action: action, Slot: target.String(), Version: version, Code: code, Message: why}); err != nil {
		return err
	}
	return u.refresh()
}

// FailTrial marks the running trial bad: the next boot is the other slot. The
// caller reboots at once.
func (u *Updater) FailTrial(action Action, why string) error {
	f := u.facts
	if f.Phase() != PhaseTrial && f.Phase() != PhaseLastResort {
		return fmt.Errorf("internal error: failing a trial in phase %v", f.Phase())
	}
	version := ""
	if m := f.Slot(f.Running).Manifest; m != nil {
		version = m.Version
	}
	// The history first: after the boot state is durable nothing may keep us
	// from rebooting.
	if err := u.record(Result{Action: action, Slot: f.Running.String(), Version: version, Code: codeHealth, Message: why}); err != nil {
		u.o.Notice("%v", err)
	}
	// COMMIT POINT: one sector; a cut before it costs one more try. The bad
	// slot stays primary: that tells the next boot that a trial failed here.
	return u.setBoot(bootctl.MarkBad(f.Boot, f.Running))
}

// backToOld makes the system from before the migration the next to boot. The
// journal, if the caller has one, tells that system why.
func (u *Updater) backToOld(why string) error {
	version := ""
	if m := u.facts.Slot(slot.A).Manifest; m != nil {
		version = m.Version
	}
	if err := u.record(Result{Action: ActionRollback, Slot: slot.A.String(), Version: version, Message: why + ": the next boot is the system from before the migration"}); err != nil {
		u.o.Notice("%v", err)
	}
	// COMMIT POINT: one sector. A cut before it boots this slot, after it the
	// old system, which lies where it always was.
	return u.setBoot(bootctl.BackToOld(u.facts.Boot))
}

// CanGoBack reports whether a failed trial has another system to go back to.
func (u *Updater) CanGoBack() bool { return u.facts.Slot(u.facts.Target()).ArgsValid }
