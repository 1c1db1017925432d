package update

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/slot"
)

// Command is what the user, or the shutdown, asks for.
type Command uint8

// The commands that change the boot state.
const (
	CommandApply Command = iota + 1
	CommandArm           // the orderly shutdown arms what was written
	CommandRollback
	CommandCommit
)

// Step is what is to be done: the outcome of a decision.
type Step uint8

// The steps. Each is one function of Updater.
const (
	StepWrite      Step = iota + 1 // write the bundle to the target (it is disarmed first if need be)
	StepArmWritten                 // restore, make bootable and arm the slot just written
	StepArmOther                   // arm the other, complete slot as a trial
	StepForget                     // drop the slot just written
	StepDisarm                     // undo an arm
	StepFailTrial                  // mark the running trial bad and reboot to the other slot
	StepCommit                     // make the running slot good
	StepNothing                    // nothing to do, and that is fine
	StepBackToOld                  // end a migration: reboot to the old system
)

// Decide is the state table (docs/boot-state.md): what a command does in each
// phase. It returns an error that says why where the command is refused.
func Decide(f *Facts, c Command) (Step, error) {
	phase := f.Phase()
	switch c {
	case CommandApply:
		return decideApply(f, phase)
	case CommandArm:
		if phase == PhaseWritten {
			return StepArmWritten, nil
		}
		return StepNothing, nil
	case CommandRollback:
		return decideRollback(f, phase)
	case CommandCommit:
		switch phase {
		case PhaseTrial, PhaseLastResort:
			return StepCommit, nil
		case PhaseIdle, PhaseWriting, PhaseWritten, PhaseArmed:
			return 0, fmt.Errorf("%w: slot %v is committed already", ErrNothing, f.Running)
		}
	}
	return 0, fmt.Errorf("internal error: command %d in phase %v", c, phase)
}

func decideApply(f *Facts, phase Phase) (Step, error) {
	if f.Migrating() {
		return 0, withHint(fmt.Errorf("%w: the system from before the migration still lies where slot b will be", ErrMigration),
			"give it up with: abupdate migrate finish")
	}
	switch phase {
	case PhaseIdle, PhaseWriting, PhaseWritten, PhaseArmed:
		return StepWrite, nil
	case PhaseTrial:
		return 0, withHint(fmt.Errorf("%w: slot %v is in its trial, and the other slot is the way back", ErrNotCommitted, f.Running),
			"wait for the health check to commit it, or decide now: abupdate commit, or abupdate rollback")
	case PhaseLastResort:
		return 0, withHint(fmt.Errorf("%w: slot %v was booted as a last resort", ErrNotCommitted, f.Running),
			"check the system, then adopt it: abupdate commit")
	}
	return 0, fmt.Errorf("internal error: apply in phase %v", phase)
}

func decideRollback(f *Facts, phase Phase) (Step, error) {
	other := f.Target()
	if f.Migrating() {
		if !f.Slot(slot.B).ArgsValid {
			return 0, withHint(fmt.Errorf("%w: the system from before the migration is not complete", ErrNothing), "go on with this one: abupdate commit, then abupdate migrate finish")
		}
		return StepBackToOld, nil
	}
	switch phase {
	case PhaseTrial:
		if !f.Slot(other).ArgsValid {
			return 0, withHint(fmt.Errorf("%w: slot %v holds no complete system to go back to", ErrNothing, other),
				"keep this one: abupdate commit; or install another: abupdate commit, then abupdate apply")
		}
		return StepFailTrial, nil
	case PhaseArmed:
		return StepDisarm, nil
	case PhaseWritten:
		return StepForget, nil
	case PhaseIdle, PhaseWriting, PhaseLastResort:
		switch {
		case !f.Slot(other).ArgsValid:
			return 0, withHint(fmt.Errorf("%w: slot %v holds no complete system", ErrNothing, other), "install one: abupdate apply")
		case phase != PhaseLastResort && f.SlotState(other) == SlotBad:
			return 0, withHint(fmt.Errorf("%w: the system in slot %v failed its trial", ErrNothing, other),
				"install another, or the same again: abupdate apply")
		}
		return StepArmOther, nil
	}
	return 0, fmt.Errorf("internal error: rollback in phase %v", phase)
}
