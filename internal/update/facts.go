package update

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// Phase is where the device stands in an update. It is derived from Facts at
// each start and stored nowhere.
type Phase uint8

// The phases. The zero value is invalid.
const (
	PhaseIdle       Phase = iota + 1 // committed, nothing under way
	PhaseWriting                     // an apply is under way or was interrupted
	PhaseWritten                     // a verified image waits for the orderly shutdown
	PhaseArmed                       // the next boot is a trial of the other slot
	PhaseTrial                       // this boot is a trial
	PhaseLastResort                  // booted although nothing was known to be good
)

// String returns the phase as status prints it.
func (p Phase) String() string {
	switch p {
	case PhaseIdle:
		return "idle"
	case PhaseWriting:
		return "writing"
	case PhaseWritten:
		return "written"
	case PhaseArmed:
		return "armed"
	case PhaseTrial:
		return "trial"
	case PhaseLastResort:
		return "last-resort"
	}
	return fmt.Sprintf("update.Phase(%d)", uint8(p))
}

// SlotFacts is what is known about one slot.
type SlotFacts struct {
	// ArgsValid: the args block is whole, so GRUB may boot the slot. Until a
	// migration is finished that of slot b is about the old system, or about
	// the migrator that stands for it.
	ArgsValid bool
	// Record is nil when the state file claims nothing about the slot.
	Record *SlotRecord
	// Manifest is the signed manifest of Record; nil without one.
	Manifest *bundle.Manifest
}

// written reports whether the slot holds a whole, verified image that has not
// been found good yet. One that has is never armed by a shutdown: after the
// boot state was lost that would lead back to an older system unasked.
func (s SlotFacts) written() bool { return s.whole() && !s.Record.Committed }

// whole reports whether the slot holds an image that was read back as a whole.
func (s SlotFacts) whole() bool { return s.Record != nil && s.Record.State == RecordWritten }

// Facts are all that a decision rests on, as read from the disk and the
// kernel at the start of a command.
type Facts struct {
	Boot    bootctl.State
	Running slot.ID
	// Why is how GRUB came to boot the running slot.
	Why   bootctl.Why
	Slots [2]SlotFacts // by slotIndex
}

func slotIndex(id slot.ID) int { return int(id - slot.A) }

// Slot returns the facts of one slot.
func (f *Facts) Slot(id slot.ID) *SlotFacts { return &f.Slots[slotIndex(id)] }

// Target is the slot that an update would be written to.
func (f *Facts) Target() slot.ID { return f.Running.Other() }

// Migrating reports whether a migration is not finished: the old system is in
// the place of slot b, which does not exist yet.
func (f *Facts) Migrating() bool { return f.Boot.BKind == bootctl.KindOld }

// Phase derives where the device stands.
func (f *Facts) Phase() Phase {
	target := f.Slot(f.Target())
	other := f.Boot.Flags(f.Target())
	switch {
	case !f.Boot.Flags(f.Running).OK:
		if f.Why == bootctl.WhyLastResort || f.Why == bootctl.WhyStatic {
			return PhaseLastResort
		}
		return PhaseTrial
	case f.Boot.Primary == f.Target() && target.ArgsValid && !other.OK && other.Tries > 0:
		return PhaseArmed
	case target.written() && !other.OK && other.Tries == 0 && f.Boot.Primary == f.Running:
		// With or without a valid args block: a cut between the two writes of
		// arming must not lose the update.
		return PhaseWritten
	case target.Record != nil && target.Record.State == RecordWriting:
		return PhaseWriting
	}
	return PhaseIdle
}

// SlotState is the state of one slot as status prints it.
type SlotState string

// The states of a slot.
const (
	SlotGood    SlotState = "good"    // committed
	SlotEmpty   SlotState = "empty"   // nothing bootable
	SlotWritten SlotState = "written" // whole, not armed yet
	SlotTrying  SlotState = "trying"  // armed, or in its trial
	SlotBad     SlotState = "bad"     // failed its trial
	SlotOld     SlotState = "old"     // the system that was there before the migration
)

// SlotState derives the state of one slot.
func (f *Facts) SlotState(id slot.ID) SlotState {
	s, flags := f.Slot(id), f.Boot.Flags(id)
	switch {
	case id == slot.B && f.Migrating():
		return SlotOld
	case id == f.Target() && f.Phase() == PhaseWritten:
		return SlotWritten
	case !s.ArgsValid:
		return SlotEmpty
	case flags.OK:
		return SlotGood
	case flags.Tries > 0 || id == f.Running && f.Phase() == PhaseTrial:
		return SlotTrying
	}
	return SlotBad
}
