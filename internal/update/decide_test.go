package update

import (
	"errors"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// good, armed and bad are the flags of a slot in the rows below.
var (
	good  = bootctl.Flags{OK: true}
	armed = bootctl.Flags{Tries: 3}
	bad   = bootctl.Flags{}
)

// factsOf builds the facts of a device that runs slot a.
func factsOf(primary slot.ID, a, b bootctl.Flags, why bootctl.Why, argsB bool, recordB *SlotRecord) *Facts {
	f := &Facts{
		Boot:    bootctl.State{Seq: 7, Primary: primary, A: a, B: b, BKind: bootctl.KindSlot},
		Running: slot.A, Why: why,
	}
	*f.Slot(slot.A) = SlotFacts{ArgsValid: true, Record: &SlotRecord{State: RecordWritten, Committed: a.OK}, Manifest: &bundle.Manifest{Version: "1.0.0"}}
	*f.Slot(slot.B) = SlotFacts{ArgsValid: argsB, Record: recordB}
	if recordB != nil {
		f.Slot(slot.B).Manifest = &bundle.Manifest{Version: "2.0.0"}
	}
	return f
}

// ofMigration makes the other system the one from before a migration.
func ofMigration(f *Facts) *Facts {
	f.Boot.BKind = bootctl.KindOld
	return f
}

func record(s RecordState, committed bool) *SlotRecord {
	return &SlotRecord{State: s, Committed: committed}
}

// situations are the states of the table in docs/boot-state.md, and the edges
// between them that a power cut can leave.
var situations = map[string]struct {
	facts *Facts
	phase Phase
	slotB SlotState
}{
	"factory fresh":                     {factsOf(slot.A, good, bad, bootctl.WhyGood, false, nil), PhaseIdle, SlotEmpty},
	"idle, other slot good":             {factsOf(slot.A, good, good, bootctl.WhyGood, true, record(RecordWritten, true)), PhaseIdle, SlotGood},
	"idle, other slot failed":           {factsOf(slot.A, good, bad, bootctl.WhyGood, true, record(RecordFailed, false)), PhaseIdle, SlotBad},
	"fell back, not settled yet":        {factsOf(slot.B, good, bad, bootctl.WhyGood, true, record(RecordWritten, false)), PhaseIdle, SlotBad},
	"idle, update given up":             {factsOf(slot.A, good, bad, bootctl.WhyGood, false, record(RecordEmpty, false)), PhaseIdle, SlotEmpty},
	"apply interrupted":                 {factsOf(slot.A, good, bad, bootctl.WhyGood, false, record(RecordWriting, false)), PhaseWriting, SlotEmpty},
	"written":                           {factsOf(slot.A, good, bad, bootctl.WhyGood, false, record(RecordWritten, false)), PhaseWritten, SlotWritten},
	"written, cut between args and arm": {factsOf(slot.A, good, bad, bootctl.WhyGood, true, record(RecordWritten, false)), PhaseWritten, SlotWritten},
	"armed":                             {factsOf(slot.B, good, armed, bootctl.WhyGood, true, record(RecordWritten, false)), PhaseArmed, SlotTrying},
	"armed by rollback":                 {factsOf(slot.B, good, armed, bootctl.WhyGood, true, record(RecordWritten, true)), PhaseArmed, SlotTrying},
	"trial":                             {factsOf(slot.A, bootctl.Flags{Tries: 2}, good, bootctl.WhyTrial, true, record(RecordWritten, true)), PhaseTrial, SlotGood},
	"trial, last try":                   {factsOf(slot.A, bad, good, bootctl.WhyTrial, true, record(RecordWritten, true)), PhaseTrial, SlotGood},
	"trial without a way back":          {factsOf(slot.A, bad, bad, bootctl.WhyTrial, false, nil), PhaseTrial, SlotEmpty},
	"last resort":                       {factsOf(slot.A, bad, bad, bootctl.WhyLastResort, true, record(RecordFailed, false)), PhaseLastResort, SlotBad},
	"last resort, other slot empty":     {factsOf(slot.A, bad, bad, bootctl.WhyLastResort, false, nil), PhaseLastResort, SlotEmpty},
	"both copies were broken (static)":  {factsOf(slot.A, armed, bad, bootctl.WhyStatic, true, record(RecordWritten, true)), PhaseLastResort, SlotBad},
	"static, adopted since":             {factsOf(slot.A, good, bad, bootctl.WhyStatic, true, record(RecordFailed, false)), PhaseIdle, SlotBad},
	"migrated, trial":                   {ofMigration(factsOf(slot.A, bootctl.Flags{Tries: 1}, good, bootctl.WhyTrial, true, nil)), PhaseTrial, SlotOld},
	"migrated, idle":                    {ofMigration(factsOf(slot.A, good, good, bootctl.WhyGood, true, nil)), PhaseIdle, SlotOld},
	"migrated, going back":              {ofMigration(factsOf(slot.B, bad, good, bootctl.WhyGood, true, nil)), PhaseTrial, SlotOld},
	"migrated, last resort":             {ofMigration(factsOf(slot.A, bad, bad, bootctl.WhyLastResort, false, nil)), PhaseLastResort, SlotOld},
}

func TestPhase(t *testing.T) {
	for name, s := range situations {
		t.Run(name, func(t *testing.T) {
			if got := s.facts.Phase(); got != s.phase {
				t.Errorf("phase %v, want %v", got, s.phase)
			}
			if got := s.facts.SlotState(slot.B); got != s.slotB {
				t.Errorf("slot b is %v, want %v", got, s.slotB)
			}
		})
	}
}

// TestDecide has each cell of the state table as a row.
func TestDecide(t *testing.T) {
	rows := []struct {
		situation string
		command   Command
		step      Step
		err       error
	}{
		{"factory fresh", CommandApply, StepWrite, nil},
		{"idle, other slot good", CommandApply, StepWrite, nil},
		{"idle, other slot failed", CommandApply, StepWrite, nil},
		{"apply interrupted", CommandApply, StepWrite, nil},
		{"written", CommandApply, StepWrite, nil},
		{"armed", CommandApply, StepWrite, nil},
		{"trial", CommandApply, 0, ErrNotCommitted},
		{"trial, last try", CommandApply, 0, ErrNotCommitted},
		{"last resort", CommandApply, 0, ErrNotCommitted},
		{"both copies were broken (static)", CommandApply, 0, ErrNotCommitted},
		{"static, adopted since", CommandApply, StepWrite, nil},

		{"migrated, trial", CommandApply, 0, ErrMigration},
		{"migrated, idle", CommandApply, 0, ErrMigration},
		{"migrated, going back", CommandApply, 0, ErrMigration},
		{"migrated, last resort", CommandApply, 0, ErrMigration},
		{"migrated, trial", CommandRollback, StepBackToOld, nil},
		{"migrated, idle", CommandRollback, StepBackToOld, nil},
		{"migrated, going back", CommandRollback, StepBackToOld, nil},
		{"migrated, last resort", CommandRollback, 0, ErrNothing},
		{"migrated, trial", CommandCommit, StepCommit, nil},
		{"migrated, idle", CommandCommit, 0, ErrNothing},
		{"migrated, going back", CommandCommit, StepCommit, nil},
		{"migrated, last resort", CommandCommit, StepCommit, nil},
		{"migrated, trial", CommandArm, StepNothing, nil},
		{"migrated, idle", CommandArm, StepNothing, nil},

		{"factory fresh", CommandRollback, 0, ErrNothing},
		{"idle, other slot good", CommandRollback, StepArmOther, nil},
		{"idle, other slot failed", CommandRollback, 0, ErrNothing},
		{"fell back, not settled yet", CommandRollback, 0, ErrNothing},
		{"idle, update given up", CommandRollback, 0, ErrNothing},
		{"apply interrupted", CommandRollback, 0, ErrNothing},
		{"written", CommandRollback, StepForget, nil},
		{"written, cut between args and arm", CommandRollback, StepForget, nil},
		{"armed", CommandRollback, StepDisarm, nil},
		{"armed by rollback", CommandRollback, StepDisarm, nil},
		{"trial", CommandRollback, StepFailTrial, nil},
		{"trial, last try", CommandRollback, StepFailTrial, nil},
		{"trial without a way back", CommandRollback, 0, ErrNothing},
		{"last resort", CommandRollback, StepArmOther, nil},
		{"last resort, other slot empty", CommandRollback, 0, ErrNothing},
		{"both copies were broken (static)", CommandRollback, StepArmOther, nil},

		{"factory fresh", CommandCommit, 0, ErrNothing},
		{"written", CommandCommit, 0, ErrNothing},
		{"armed", CommandCommit, 0, ErrNothing},
		{"apply interrupted", CommandCommit, 0, ErrNothing},
		{"trial", CommandCommit, StepCommit, nil},
		{"trial, last try", CommandCommit, StepCommit, nil},
		{"trial without a way back", CommandCommit, StepCommit, nil},
		{"last resort", CommandCommit, StepCommit, nil},
		{"both copies were broken (static)", CommandCommit, StepCommit, nil},

		{"written", CommandArm, StepArmWritten, nil},
		{"written, cut between args and arm", CommandArm, StepArmWritten, nil},
		{"factory fresh", CommandArm, StepNothing, nil},
		{"idle, other slot failed", CommandArm, StepNothing, nil},
		{"fell back, not settled yet", CommandArm, StepNothing, nil},
		{"apply interrupted", CommandArm, StepNothing, nil},
		{"armed", CommandArm, StepNothing, nil},
		{"trial", CommandArm, StepNothing, nil},
		{"last resort", CommandArm, StepNothing, nil},
	}
	names := map[Command]string{CommandApply: "apply", CommandRollback: "rollback", CommandCommit: "commit", CommandArm: "arm"}
	for _, r := range rows {
		t.Run(names[r.command]+"/"+r.situation, func(t *testing.T) {
			s, ok := situations[r.situation]
			if !ok {
				t.Fatalf("no situation %q", r.situation)
			}
			step, err := Decide(s.facts, r.command)
			if !errors.Is(err, r.err) || step != r.step {
				t.Errorf("step %d, error %v; want step %d, error %v", step, err, r.step, r.err)
			}
		})
	}
}

// TestDecideIsTotal: every combination of flags, records and commands has an
// answer, and none is an internal error.
func TestDecideIsTotal(t *testing.T) {
	flags := []bootctl.Flags{good, armed, bad, {Tries: 9}, {OK: true, Tries: 1}}
	records := []*SlotRecord{nil, record(RecordEmpty, false), record(RecordWriting, false), record(RecordWritten, false), record(RecordWritten, true), record(RecordFailed, false)}
	whys := []bootctl.Why{bootctl.WhyGood, bootctl.WhyTrial, bootctl.WhyLastResort, bootctl.WhyStatic}
	known := []error{nil, ErrNothing, ErrNotCommitted, ErrMigration}
	for _, primary := range slot.All {
		for _, a := range flags {
			for _, b := range flags {
				for _, r := range records {
					for _, why := range whys {
						for _, args := range []bool{false, true} {
							f := factsOf(primary, a, b, why, args, r)
							if r == nil && a.Tries%2 == 1 { // some of them of a migration
								f = ofMigration(f)
							}
							for _, c := range []Command{CommandApply, CommandArm, CommandRollback, CommandCommit} {
								_, err := Decide(f, c)
								ok := false
								for _, k := range known {
									ok = ok || errors.Is(err, k)
								}
								if !ok {
									t.Fatalf("%+v: command %d: %v", f.Boot, c, err)
								}
							}
						}
					}
				}
			}
		}
	}
}

// TestReset is the reset column of the state table: what an unplanned reset
// boots in each state, by the same rules as grub.cfg.
func TestReset(t *testing.T) {
	rows := map[string]struct {
		system bootctl.System
		why    bootctl.Why
	}{
		"factory fresh":                     {bootctl.SystemA, bootctl.WhyGood},
		"idle, other slot good":             {bootctl.SystemA, bootctl.WhyGood},
		"idle, other slot failed":           {bootctl.SystemA, bootctl.WhyGood},
		"fell back, not settled yet":        {bootctl.SystemA, bootctl.WhyGood},
		"idle, update given up":             {bootctl.SystemA, bootctl.WhyGood},
		"apply interrupted":                 {bootctl.SystemA, bootctl.WhyGood},
		"written":                           {bootctl.SystemA, bootctl.WhyGood},
		"written, cut between args and arm": {bootctl.SystemA, bootctl.WhyGood},
		"armed":                             {bootctl.SystemB, bootctl.WhyTrial},
		"armed by rollback":                 {bootctl.SystemB, bootctl.WhyTrial},
		"trial":                             {bootctl.SystemA, bootctl.WhyTrial},
		"trial, last try":                   {bootctl.SystemB, bootctl.WhyGood},
		"trial without a way back":          {bootctl.SystemA, bootctl.WhyLastResort},
		"last resort":                       {bootctl.SystemB, bootctl.WhyLastResort},
		"last resort, other slot empty":     {bootctl.SystemA, bootctl.WhyLastResort},
		"both copies were broken (static)":  {bootctl.SystemA, bootctl.WhyTrial},
		"static, adopted since":             {bootctl.SystemA, bootctl.WhyGood},
		"migrated, trial":                   {bootctl.SystemA, bootctl.WhyTrial},
		"migrated, idle":                    {bootctl.SystemA, bootctl.WhyGood},
		"migrated, going back":              {bootctl.SystemOld, bootctl.WhyGood},
		"migrated, last resort":             {bootctl.SystemA, bootctl.WhyLastResort},
	}
	for name, s := range situations {
		t.Run(name, func(t *testing.T) {
			want, ok := rows[name]
			if !ok {
				t.Fatal("no row for this situation")
			}
			valid := map[bootctl.System]bool{
				bootctl.SystemA: s.facts.Slot(slot.A).ArgsValid,

				s.facts.Boot.Occupant(slot.B): s.facts.Slot(slot.B).ArgsValid,
			}
			if got := bootctl.Next(s.facts.Boot, valid); got.System != want.system || got.Why != want.why {
				t.Errorf("a reset boots %v (%v), want %v (%v)", got.System, got.Why, want.system, want.why)
			}
		})
	}
}
