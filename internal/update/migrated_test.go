package update

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

// newMigratedDisk returns a device right before the first boot of the new
// system: slot a on trial, the old system in the place of slot b. As in the
// field no partition is slot b yet: its number is a partition of the old
// system's, or none.
func (v *vendor) newMigratedDisk(t *testing.T, old bool) *blockdevtest.Disk {
	t.Helper()
	disk := v.newDisk(t, content("1.0.0", slotSize))
	table, err := partition.Read(disk)
	must(t, err)
	table.Parts = table.Parts[:2]
	if old {
		table.Parts = append(table.Parts, partition.Part{Number: 3, Start: dataAt, Size: diskSize - dataAt, Type: "8e"})
	}
	must(t, partition.Write(disk, table))
	off, err := bootctl.Find(disk)
	must(t, err)
	store, err := bootctl.Open(disk, off)
	must(t, err)
	system := bootctl.SystemMigrator
	if old {
		system = bootctl.SystemOld
	}
	must(t, store.SetArgs(system, bootctl.Args{Device: "quiet"}))
	state, _, err := store.State()
	must(t, err)
	must(t, store.SetState(bootctl.TrialOfMigrated(state, 2)))
	return disk
}

func TestMigratedFlow(t *testing.T) {
	v := newVendor(t)
	disk := v.newMigratedDisk(t, true)
	u := mustOpen(t, disk, slot.A, bootctl.WhyTrial)
	migratedStatus(t, u, "trial", "a", false)
	v2 := v.bundleFile(t, content("2.0.0", slotSize), nil)
	if _, err := apply(u, v2, ApplyOptions{}); !errors.Is(err, ErrMigration) {
		t.Fatalf("apply in the trial: %v", err)
	}
	if !u.CanGoBack() {
		t.Fatal("no way back in the trial")
	}
	must(t, u.Commit())
	u = mustOpen(t, disk, slot.A, bootctl.WhyGood)
	migratedStatus(t, u, "idle", "a", true)
	before := len(disk.Log())
	if _, err := apply(u, v2, ApplyOptions{}); !errors.Is(err, ErrMigration) {
		t.Fatalf("apply before finish: %v", err)
	}
	if len(disk.Log()) != before {
		t.Fatal("a refused apply has written")
	}
	if err := u.Commit(); !errors.Is(err, ErrNothing) {
		t.Fatalf("commit again: %v", err)
	}
	if _, err := u.Rollback(context.Background(), true); !errors.Is(err, ErrUsage) {
		t.Fatalf("rollback --carry-config: %v", err)
	}
	step, err := u.Rollback(context.Background(), false)
	if err != nil || step != StepBackToOld {
		t.Fatalf("rollback: step %d, %v", step, err)
	}
	u = mustOpen(t, disk, slot.A, bootctl.WhyGood)
	if s, err := u.Status(); err != nil || s.Next != "old" || s.Committed {
		t.Fatalf("after the rollback: %+v, %v", s, err)
	}
	ring, err := u.History()
	if err != nil || len(ring) == 0 || ring[len(ring)-1].Action != ActionRollback {
		t.Fatalf("history %+v, %v", ring, err)
	}
}

func migratedStatus(t *testing.T, u *Updater, phase, next string, committed bool) {
	t.Helper()
	s, err := u.Status()
	must(t, err)
	if b := s.Slots["b"]; b.State != SlotOld || b.Device != "" || b.PartUUID != "" || b.Version != "" {
		t.Fatalf("slot b: %+v", b)
	}
	if s.Phase != phase || s.Next != next || s.Committed != committed || s.Booted != "a" {
		t.Fatalf("status %+v", s)
	}
	if _, parts := u.Disk(); len(parts) > 2 && parts[2].Name != "old" {
		t.Fatalf("partition 3 is drawn as %q", parts[2].Name)
	}
}

// TestMigratedHealthFails: a failed health check leads to the old system, or
// to the migrator where that is no more.
func TestMigratedHealthFails(t *testing.T) {
	for _, old := range []bool{true, false} {
		disk := newVendor(t).newMigratedDisk(t, old)
		u := mustOpen(t, disk, slot.A, bootctl.WhyTrial)
		must(t, u.FailTrial(ActionHealth, "parity: no address"))
		s, err := u.Status()
		must(t, err)
		if want := map[bool]string{true: "old", false: "mig"}[old]; s.Next != want {
			t.Errorf("next boot is %q, want %q", s.Next, want)
		}
	}
}

// TestMigratedWithoutAWayBack: with neither old system nor migrator rollback
// says no, and a failed health check has nothing to go to.
func TestMigratedWithoutAWayBack(t *testing.T) {
	disk := newVendor(t).newMigratedDisk(t, true)
	u := mustOpen(t, disk, slot.A, bootctl.WhyTrial)
	must(t, u.Device().Store.InvalidateArgs(bootctl.SystemOld))
	u = mustOpen(t, disk, slot.A, bootctl.WhyTrial)
	if u.CanGoBack() {
		t.Error("a way back to nothing")
	}
	if _, err := u.Rollback(context.Background(), false); !errors.Is(err, ErrNothing) {
		t.Errorf("rollback: %v", err)
	}
}

// TestMigratedLostBootState: the state that is rebuilt in a migration's trial
// keeps the old system as the way back, for as long as it is complete.
func TestMigratedLostBootState(t *testing.T) {
	for _, old := range []bool{true, false} {
		disk := newVendor(t).newMigratedDisk(t, old)
		off, err := bootctl.Find(disk)
		must(t, err)
		store, err := bootctl.Open(disk, off)
		must(t, err)
		for _, e := range store.Layout().Env {
			_, err := disk.WriteAt(make([]byte, e.Len), e.Off)
			must(t, err)
		}
		u := mustOpen(t, disk, slot.A, bootctl.WhyStatic)
		if got := u.Facts().SlotState(slot.B); got != SlotOld || !u.CanGoBack() {
			t.Errorf("slot b is %v, way back %v", got, u.CanGoBack())
		}
		must(t, u.FailTrial(ActionHealth, "no"))
		if got, want := migratedBoots(t, disk), map[bool]bootctl.System{true: bootctl.SystemOld, false: bootctl.SystemMigrator}[old]; got != want {
			t.Errorf("%v boots, want %v", got, want)
		}
	}
}

// migratedBoots says what GRUB makes of the disk when slot a, the old system
// and the migrator have whole files.
func migratedBoots(t *testing.T, disk *blockdevtest.Disk) bootctl.System {
	t.Helper()
	off, err := bootctl.Find(disk)
	must(t, err)
	store, err := bootctl.Open(disk, off)
	must(t, err)
	return bootmodel.Machine{Dev: disk, Layout: store.Layout(), Files: func(s bootctl.System) bootmodel.Files {
		if s == bootctl.SystemB {
			return bootmodel.Missing
		}
		return bootmodel.Loadable
	}}.BootFully().System
}

// TestCrashMigrated cuts the power at every write of commit and rollback, and
// of the boot that follows: slot a or the old system boots, and what was
// acknowledged holds.
func TestCrashMigrated(t *testing.T) {
	trial := newVendor(t).newMigratedDisk(t, true).Clone()
	committed := trial.Clone()
	must(t, mustOpen(t, committed, slot.A, bootctl.WhyTrial).Commit())
	for name, r := range map[string]struct {
		base          *blockdevtest.Disk
		run           func(*Updater) error
		why           bootctl.Why
		before, after bootctl.System
	}{
		"commit":          {trial, (*Updater).Commit, bootctl.WhyTrial, bootctl.SystemA, bootctl.SystemA},
		"back from trial": {trial, rollback, bootctl.WhyTrial, bootctl.SystemA, bootctl.SystemOld},
		"back":            {committed.Clone(), rollback, bootctl.WhyGood, bootctl.SystemA, bootctl.SystemOld},
	} {
		t.Run(name, func(t *testing.T) {
			blockdevtest.Campaign{
				Base: r.base, Run: at(slot.A, r.why, r.run),
				Recover: func(disk *blockdevtest.Disk) error {
					if migratedBoots(t, disk) != bootctl.SystemA {
						return nil // the old system repairs nothing
					}
					_, err := updater(disk, slot.A, r.why)
					return err
				},
				Check: func(c blockdevtest.Crash) error {
					done := c.Done && c.First == nil || c.First != nil && c.First.Done
					if got := migratedBoots(t, c.Disk); got != r.after && (done || got != r.before) {
						return fmt.Errorf("%v boots; acknowledged: %v", got, done)
					}
					return nil
				},
			}.Test(t)
		})
	}
}
