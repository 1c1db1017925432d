package bootctl

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/slot"
)

// MaxTries is the most trial boots that one digit counts.
const MaxTries = 9

// Flags are what GRUB knows about one slot.
type Flags struct {
	// OK: the slot is good. GRUB boots it and writes nothing.
	OK bool
	// Tries is how many trial boots are left, 0 to MaxTries. It counts only
	// while the slot is not OK.
	Tries int
}

// State is the boot state: all that GRUB decides by, besides the args blocks.
type State struct {
	// Seq rises with every write of the agent, and never by GRUB. GRUB hands
	// it to the kernel, which proves that it read this very state.
	Seq uint32
	// Primary is the slot that GRUB tries first.
	Primary slot.ID
	A, B    Flags
	// BKind says whether B is slot b or the old system.
	BKind Kind
	// Migrate puts the migrator in the primary's place: it is tried first, by
	// the flags of the primary. So a migrator that never comes up gives way to
	// the other system when its tries are used up.
	Migrate bool
}

// Flags returns the flags of a slot.
func (s State) Flags(id slot.ID) Flags {
	if id == slot.B {
		return s.B
	}
	return s.A
}

// with returns s with the flags of one slot changed.
func (s State) with(id slot.ID, f Flags) State {
	if id == slot.B {
		s.B = f
	} else {
		s.A = f
	}
	return s
}

// Occupant returns the system that a slot's flags are about.
func (s State) Occupant(id slot.ID) System {
	if id == slot.B && s.BKind == KindOld {
		return SystemOld
	}
	return SystemOf(id)
}

// Validate returns an error for a state that cannot be encoded.
func (s State) Validate() error {
	if s.Seq == 0 {
		return fmt.Errorf("sequence number 0")
	}
	if !s.Primary.Valid() {
		return fmt.Errorf("primary %v", s.Primary)
	}
	for _, id := range slot.All {
		if n := s.Flags(id).Tries; n < 0 || n > MaxTries {
			return fmt.Errorf("slot %v has %d tries left, not 0 to %d", id, n, MaxTries)
		}
	}
	switch s.BKind {
	case KindSlot, KindOld:
		return nil
	}
	return fmt.Errorf("kind of b is %v", s.BKind)
}
