package bootctl_test

import (
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

var allComplete = map[bootctl.System]bool{bootctl.SystemA: true, bootctl.SystemB: true}

// TestTransitions checks each transition from every state of two slots, with
// each slot as the running one, by what GRUB boots afterwards.
func TestTransitions(t *testing.T) {
	eachState(func(s bootctl.State) {
		if s.BKind == bootctl.KindOld || s.Migrate {
			return
		}
		for _, running := range slot.All {
			checkTransitions(t, s, running)
		}
	})
}

func checkTransitions(t *testing.T, s bootctl.State, running slot.ID) {
	t.Helper()
	other := running.Other()
	boots := func(s bootctl.State, id slot.ID, why bootctl.Why) bool {
		next := bootctl.Next(s, allComplete)
		return next.System == bootctl.SystemOf(id) && next.Why == why
	}
	committed := bootctl.Commit(s, running)
	if !boots(committed, running, bootctl.WhyGood) || committed.Flags(other).OK != s.Flags(other).OK || committed.Flags(other).Tries != 0 {
		t.Fatalf("Commit(%+v, %v) = %+v", s, running, committed)
	}
	disarmed := bootctl.Disarm(s, running)
	if disarmed.Flags(other) != (bootctl.Flags{}) || disarmed.Flags(running) != s.Flags(running) || disarmed.Primary != running {
		t.Fatalf("Disarm(%+v, %v) = %+v", s, running, disarmed)
	}
	if bootctl.Heal(s, running) != disarmed {
		t.Fatalf("Heal(%+v, %v) differs from Disarm", s, running)
	}
	restored := bootctl.Restore(s, running)
	if !restored.Flags(other).OK || restored.Flags(running) != s.Flags(running) || restored.Primary != running {
		t.Fatalf("Restore(%+v, %v) = %+v", s, running, restored)
	}
	bad := bootctl.MarkBad(s, running)
	if bad.Flags(running) != (bootctl.Flags{}) || bad.Flags(other) != s.Flags(other) || bad.Primary != s.Primary {
		t.Fatalf("MarkBad(%+v, %v) = %+v", s, running, bad)
	}
	if s.Flags(other).OK && !boots(bad, other, bootctl.WhyGood) {
		t.Fatalf("MarkBad(%+v, %v): next boots %+v", s, running, bootctl.Next(bad, allComplete))
	}
	for tries := 1; tries <= bootctl.MaxTries; tries++ {
		armed := bootctl.Arm(committed, other, tries)
		if !boots(armed, other, bootctl.WhyTrial) || armed.Flags(running) != (bootctl.Flags{OK: true}) || armed.Flags(other).Tries != tries {
			t.Fatalf("Arm(%+v, %v, %d) = %+v", committed, other, tries, armed)
		}
		// The way back is there until the trial is committed.
		if !boots(bootctl.MarkBad(armed, other), running, bootctl.WhyGood) || !boots(bootctl.Disarm(armed, running), running, bootctl.WhyGood) {
			t.Fatalf("%+v has no way back to %v", armed, running)
		}
	}
}

func TestFellBack(t *testing.T) {
	armed := bootctl.Arm(good, slot.B, 3)
	armed.Seq = 6
	for name, c := range map[string]struct {
		state   bootctl.State
		running slot.ID
		seq     uint32
		want    bool
	}{
		"idle":                       {good, slot.A, 5, false},
		"armed in this boot":         {armed, slot.A, 5, false},
		"in the trial":               {armed, slot.B, 6, false},
		"GRUB passed the trial over": {armed, slot.A, 6, true},
		"tries used up":              {bootctl.MarkBad(armed, slot.B), slot.A, 6, true},
	} {
		if got := bootctl.FellBack(c.state, c.running, c.seq); got != c.want {
			t.Errorf("%s: FellBack = %v", name, got)
		}
	}
}

func TestRebuilt(t *testing.T) {
	complete := map[bootctl.System]bool{bootctl.SystemA: true, bootctl.SystemB: true, bootctl.SystemOld: true, bootctl.SystemMigrator: true}
	for _, running := range bootctl.Systems {
		s := bootctl.Rebuilt(running)
		if err := s.Validate(); err != nil {
			t.Errorf("%v: %v", running, err)
		}
		if next := bootctl.Next(s, complete); next.System != running || !next.Counted {
			t.Errorf("rebuilt for %v: next boots %v (%v)", running, next.System, next.Why)
		}
	}
}

// TestMigrationStates follows the boot state through a migration: what boots
// when everything goes well, and what when a system dies silently.
func TestMigrationStates(t *testing.T) {
	t.Parallel()
	const a, old, mig = bootctl.SystemA, bootctl.SystemOld, bootctl.SystemMigrator
	fresh := bootctl.State{Seq: 1, Primary: slot.A, BKind: bootctl.KindSlot}
	started := bootctl.StartMigration(fresh, 2)
	trial := bootctl.TrialOfMigrated(started, 2)
	for _, tt := range []struct {
		name     string
		state    bootctl.State
		complete []bootctl.System
		want     bootctl.System
	}{
		{"started", started, []bootctl.System{old, mig}, mig},
		{"started, and the new system is complete from a cut attempt", started, []bootctl.System{a, old, mig}, mig},
		{"the migrator dies", bootctl.MarkBad(started, slot.A), []bootctl.System{old, mig}, old},
		{"the old system is gone", started, []bootctl.System{mig}, mig},
		{"the old system is gone, the tries too", bootctl.MarkBad(started, slot.A), []bootctl.System{mig}, mig},
		{"trial", trial, []bootctl.System{a, old, mig}, a},
		{"the trial fails", bootctl.MarkBad(trial, slot.A), []bootctl.System{a, old, mig}, old},
		{"the trial fails, the old system is gone", bootctl.MarkBad(trial, slot.A), []bootctl.System{a, mig}, mig},
		{"back", bootctl.BackToOld(trial), []bootctl.System{a, old, mig}, old},
		{"committed", bootctl.Commit(trial, slot.A), []bootctl.System{a, old, mig}, a},
		{"given up", bootctl.GiveUpOld(bootctl.Commit(trial, slot.A)), []bootctl.System{a, old, mig}, a},
	} {
		complete := map[bootctl.System]bool{}
		for _, s := range tt.complete {
			complete[s] = true
		}
		if got := bootctl.Next(tt.state, complete); got.System != tt.want {
			t.Errorf("%s: %+v boots %v, want %v", tt.name, tt.state, got.System, tt.want)
		}
	}
}
