package bootctl

import "github.com/abupdate/abupdate/internal/slot"

// The transitions of the boot state. They are pure: what they return becomes
// true by one Store.SetState, which is one sector. The table of
// docs/boot-state.md says which command may take which.

// Arm gives the target its trial: the next boot tries it, at most tries times,
// and then goes back to the other slot. The other slot must be good.
func Arm(s State, target slot.ID, tries int) State {
	s.Primary = target
	return s.with(target, Flags{Tries: tries})
}

// Disarm makes the running slot the primary, and the other one neither good
// nor tried: whatever becomes of the other slot's content, GRUB leaves it
// alone. It comes before the first write to the other slot.
func Disarm(s State, running slot.ID) State {
	s.Primary = running
	return s.with(running.Other(), Flags{})
}

// Restore undoes an Arm of a slot that had been good before: the running slot
// is the primary again and the other one good.
func Restore(s State, running slot.ID) State {
	s.Primary = running
	return s.with(running.Other(), Flags{OK: true})
}

// Commit makes the running slot good and the primary. The other one keeps its
// mark, as the way back, and loses its tries.
func Commit(s State, running slot.ID) State {
	s.Primary = running
	other := s.Flags(running.Other())
	other.Tries = 0
	return s.with(running, Flags{OK: true}).with(running.Other(), other)
}

// MarkBad ends a slot's trial: GRUB takes the other slot, if that is good, and
// this one only as a last resort. The primary stays: it tells the next boot
// which slot has failed.
func MarkBad(s State, id slot.ID) State { return s.with(id, Flags{}) }

// Heal records that GRUB fell back from the primary to the running slot: the
// running slot becomes the primary, and the one that failed is bad, even if
// it had been good: GRUB passes over a good slot only when it cannot load it.
func Heal(s State, running slot.ID) State { return Disarm(s, running) }

// FellBack reports whether this boot of the running slot is GRUB's way back
// from another primary. bootSeq is the sequence number that GRUB handed to
// the kernel: a primary that was armed after this boot has a newer one, and
// has simply not been tried yet.
func FellBack(s State, running slot.ID, bootSeq uint32) bool {
	return s.Primary != running && s.Seq == bootSeq
}

// Rebuilt is the boot state that is made when both copies are broken. It
// holds what is known: the running system boots. It gets the tries of a trial
// rather than the mark of a good one, because it may have been in its trial
// when the state was lost; without a commit GRUB goes on to the others.
func Rebuilt(running System) State {
	s := State{Seq: 1, Primary: slot.A, BKind: KindSlot}
	switch running {
	case SystemA:
	case SystemB:
		s.Primary = slot.B
	case SystemOld:
		s.Primary, s.BKind = slot.B, KindOld
	case SystemMigrator:
		s.Migrate = true
	}
	return s.with(s.Primary, Flags{Tries: DefaultTries})
}

// OldStillThere corrects a state rebuilt for slot a where the old system is
// whole: it is the way back still, in the place of slot b.
func OldStillThere(s State) State {
	s.BKind, s.B = KindOld, Flags{OK: true}
	return s
}

// StartMigration puts the migrator in charge, tries times at most; then the
// old system, which takes the place of slot b and is good, comes back.
func StartMigration(s State, tries int) State {
	s.Primary, s.BKind, s.Migrate = slot.A, KindOld, true
	s.A, s.B = Flags{Tries: tries}, Flags{OK: true}
	return s
}

// TrialOfMigrated gives the new system in slot a its trial. The way back is
// the old system, or the migrator where that is no more.
func TrialOfMigrated(s State, tries int) State {
	s = StartMigration(s, tries)
	s.Migrate = false
	return s
}

// BackToOld ends a migration without its new system: the old one is primary.
func BackToOld(s State) State {
	s.Primary, s.BKind, s.Migrate = slot.B, KindOld, false
	s.A, s.B = Flags{}, Flags{OK: true}
	return s
}

// GiveUpOld makes slot b of the old system's place: from here on GRUB does not
// boot the old system any more. Slot a must be good.
func GiveUpOld(s State) State {
	s.Primary, s.BKind, s.Migrate = slot.A, KindSlot, false
	s.B = Flags{}
	return s
}

// DefaultTries is enough for a power cut or two during a trial.
const DefaultTries = 3
