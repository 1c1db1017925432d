package bootctl

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/slot"
)

// System is what GRUB can boot.
type System uint8

// The systems. SystemOld is the system that was on the device before its
// migration, SystemMigrator the program that carries the migration out.
const (
	SystemA System = iota + 1
	SystemB
	SystemOld
	SystemMigrator
)

// Systems lists every system, in the order of their args blocks in Layout.
var Systems = [...]System{SystemA, SystemB, SystemOld, SystemMigrator}

// String returns the name that the kernel command line uses (ab.slot=).
func (s System) String() string {
	switch s {
	case SystemA:
		return "a"
	case SystemB:
		return "b"
	case SystemOld:
		return "old"
	case SystemMigrator:
		return "mig"
	}
	return fmt.Sprintf("bootctl.System(%d)", uint8(s))
}

// ParseSystem reads the name of a system.
func ParseSystem(name string) (System, error) {
	for _, s := range Systems {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("system %q: must be a, b, old or mig", name)
}

// Slot returns the slot that s is, and false for a system that is no slot.
func (s System) Slot() (slot.ID, bool) {
	switch s {
	case SystemA:
		return slot.A, true
	case SystemB:
		return slot.B, true
	case SystemOld, SystemMigrator:
	}
	return 0, false
}

// SystemOf returns the system in a slot.
func SystemOf(id slot.ID) System {
	switch id {
	case slot.A:
		return SystemA
	case slot.B:
		return SystemB
	}
	panic(fmt.Sprintf("internal error: system of %v", id))
}

// Kind says what "b" means in the boot state.
type Kind uint8

// The kinds. During a migration the old system takes the place of slot b.
const (
	KindSlot Kind = iota + 1
	KindOld
)

// String returns the word that the boot state uses.
func (k Kind) String() string {
	switch k {
	case KindSlot:
		return "slot"
	case KindOld:
		return "old"
	}
	return fmt.Sprintf("bootctl.Kind(%d)", uint8(k))
}

func parseKind(word string) (Kind, error) {
	for _, k := range [...]Kind{KindSlot, KindOld} {
		if k.String() == word {
			return k, nil
		}
	}
	return 0, fmt.Errorf("kind %q: must be slot or old", word)
}

// Why is GRUB's reason for booting a system.
type Why uint8

// The reasons, in the words of ab.why= on the kernel command line.
const (
	WhyGood       Why = iota + 1 // marked good; nothing was written
	WhyTrial                     // not good yet; one try was spent
	WhyMigrate                   // the migrator was wanted
	WhyLastResort                // nothing was good and no try was left
	WhyStatic                    // both copies of the boot state were broken
	WhyCore                      // GRUB's core could not read abboot at all
)

var whys = [...]Why{WhyGood, WhyTrial, WhyMigrate, WhyLastResort, WhyStatic, WhyCore}

// String returns the word on the kernel command line.
func (w Why) String() string {
	switch w {
	case WhyGood:
		return "good"
	case WhyTrial:
		return "trial"
	case WhyMigrate:
		return "migrate"
	case WhyLastResort:
		return "lastresort"
	case WhyStatic:
		return "static"
	case WhyCore:
		return "core"
	}
	return fmt.Sprintf("bootctl.Why(%d)", uint8(w))
}

func parseWhy(word string) (Why, error) {
	for _, w := range whys {
		if w.String() == word {
			return w, nil
		}
	}
	return 0, fmt.Errorf("reason %q is unknown", word)
}
