package bootctl

import "github.com/abupdate/abupdate/internal/slot"

// Choice is one attempt of GRUB to boot a system.
type Choice struct {
	System System
	Why    Why
	// Slot is the one whose flags stand for the system; 0 for none.
	Slot slot.ID
	// Counted: a try is spent first. The attempt is given up unless both copies
	// of the boot state are valid and the disk kept what was written.
	Counted bool
}

// Order returns what GRUB tries, in this order, given this boot state. It
// passes over systems that are not complete, and goes on to the next when one
// does not load. grub.cfg and this function say the same.
func (s State) Order() []Choice {
	primary, other := s.Primary, s.Primary.Other()
	first := Choice{System: s.Occupant(primary), Why: WhyGood, Slot: primary}
	if s.Migrate {
		first.System, first.Why = SystemMigrator, WhyMigrate
	}
	second := Choice{System: s.Occupant(other), Why: WhyGood, Slot: other}

	var order []Choice
	for _, c := range [...]Choice{first, second} {
		flags := s.Flags(c.Slot)
		if !flags.OK {
			if flags.Tries == 0 {
				continue
			}
			c.Counted = true
			if c.Why == WhyGood {
				c.Why = WhyTrial
			}
		}
		order = append(order, c)
		if c.System == SystemOld {
			// Where the old system is no more, the migrator stands for it.
			c.System, c.Why = SystemMigrator, WhyMigrate
			order = append(order, c)
		}
	}
	// Last resort: the other one first, because the primary has just failed,
	// unless it has tries that could not be counted. GRUB makes the one that it
	// takes the primary, so that the next last resort begins with the one that
	// was not taken.
	lastPrimary := Choice{System: s.Occupant(primary), Why: WhyLastResort, Slot: primary}
	lastOther := Choice{System: s.Occupant(other), Why: WhyLastResort, Slot: other}
	if f := s.Flags(primary); !f.OK && f.Tries > 0 {
		order = append(order, lastPrimary)
	}
	return append(order, lastOther, lastPrimary,
		Choice{System: SystemOld, Why: WhyLastResort},
		Choice{System: SystemMigrator, Why: WhyLastResort},
	)
}

// StaticOrder returns what GRUB tries when both copies of the boot state are
// broken. Nothing can be counted then.
func StaticOrder() []Choice {
	order := make([]Choice, 0, len(Systems))
	for _, s := range Systems {
		order = append(order, Choice{System: s, Why: WhyStatic})
	}
	return order
}

// Next returns what GRUB boots next, if all goes well, given which systems
// have a valid args block. The zero Choice means: nothing, GRUB goes on
// trying.
func Next(s State, complete map[System]bool) Choice {
	for _, c := range s.Order() {
		if complete[c.System] {
			return c
		}
	}
	return Choice{}
}
