package main

import (
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/partition"
)

// migratedDevice is a device whose new system in slot a is on trial, with the
// old one in the place of slot b and data.
func migratedDevice(t *testing.T, f *factory) string {
	t.Helper()
	path := f.device(t)
	disk, err := blockdev.Open(path, blockdev.Options{Write: true})
	must(t, err)
	defer disk.Close()
	off, err := bootctl.Find(disk)
	must(t, err)
	store, err := bootctl.Open(disk, off)
	must(t, err)
	end, err := partition.Read(disk)
	must(t, err)
	part := func(number int) partition.Part {
		p, ok := end.Part(number)
		if !ok {
			t.Fatalf("no partition %d in %+v", number, end)
		}
		return p
	}
	region := func(p partition.Part) migrate.Region { return migrate.Region{Start: p.Start, Size: p.Size} }
	l := store.Layout()
	b, data := part(l.BPart), part(l.DataPart)
	old := b
	old.Size = data.End() - b.Start
	trial := *end
	trial.Parts = []partition.Part{part(l.BootPart), part(l.APart), old}
	must(t, partition.Write(disk, &trial))
	j := &migrate.Journal{
		Phase: migrate.PhaseTrial, Layout: migrate.L3, Tier: migrate.Carve, Firmware: "bios", DiskID: end.DiskID, DiskSize: disk.Size(),
		SlotSize: b.Size, Boot: region(part(l.BootPart)), A: region(part(l.APart)), B: region(b), Data: region(data),
		BootNumber: l.BootPart, ANumber: l.APart, BNumber: l.BPart, DataNumber: l.DataPart,
		DataMode: migrate.DataNew, Trial: &trial, End: end, KeepOld: -1,
		Old: []migrate.OldVolume{{Name: "sda3", Mount: "/", Filesystem: "xfs", Map: old.Map()}},
	}
	must(t, j.Record(store))
	must(t, store.SetArgs(bootctl.SystemOld, bootctl.Args{Device: "root=/dev/sda3"}))
	state, _, err := store.State()
	must(t, err)
	must(t, store.SetState(bootctl.TrialOfMigrated(state, 2)))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMigrateFinish: from the trial over the commit and finish to an ordinary
// update, with what each verb says on the way.
func TestMigrateFinish(t *testing.T) {
	t.Parallel()
	f := getFactory(t)
	disk := migratedDevice(t, f)
	says := func(code int, text string, args ...string) {
		t.Helper()
		o := abupdate(append([]string{"--disk", disk}, args...)...)
		if o.code != code || !strings.Contains(o.stdout+o.stderr, text) {
			t.Errorf("%s: code %d, want %d; %s%s; want %q", strings.Join(args, " "), o.code, code, o.stdout, o.stderr, text)
		}
	}
	says(codeDone, "slot b    old", "status")
	says(codeDone, "the old system", "doctor")
	says(codeMigration, "not committed", "migrate", "finish")
	says(codeMigration, "migrate finish", "apply", f.v2)
	says(codeDone, "", "migrate", "finish", "--due")
	says(codeDone, "committed", "commit")
	says(codeMigration, "migrate finish", "apply", f.v2)
	says(codeUsage, "number of days", "migrate", "finish", "--keep-old", "-1")
	says(codeUsage, "--due", "migrate", "finish", "--due", "--keep-old", "1")
	says(codeDone, "is kept until", "migrate", "finish", "--keep-old", "7")
	says(codeDone, "", "migrate", "finish", "--due")
	says(codeDone, "slot b    old", "status")
	says(codeDone, "The migration is finished", "migrate", "finish")
	says(codeNothing, "finished", "migrate", "finish")
	says(codeDone, "", "migrate", "finish", "--due")
	says(codeDone, "slot b    empty", "status")
	says(codeDone, "the old system was given up", "history")
	says(codeDone, "", "apply", f.v2)
	if s := status(t, disk); s["next"] != "b" {
		t.Errorf("after the update: %+v", s)
	}
}

// TestMigrateRollback: until finish, rollback leads back to the old system.
func TestMigrateRollback(t *testing.T) {
	t.Parallel()
	disk := migratedDevice(t, getFactory(t))
	mustRun(t, "--disk", disk, "commit")
	if o := abupdate("--disk", disk, "rollback"); o.code != codeDone || !strings.Contains(o.stdout, "old system") {
		t.Errorf("rollback: %+v", o)
	}
	file, err := blockdev.Open(disk, blockdev.Options{})
	must(t, err)
	defer file.Close()
	off, err := bootctl.Find(file)
	must(t, err)
	store, err := bootctl.Open(file, off)
	must(t, err)
	j, err := migrate.RecordedJournal(store)
	if err != nil || j.Phase != migrate.PhaseFailed || j.Reason == "" {
		t.Errorf("journal %+v, %v", j, err)
	}
}

// TestMigrateFinishElsewhere: a device that was never migrated has nothing to
// finish.
func TestMigrateFinishElsewhere(t *testing.T) {
	t.Parallel()
	disk := getFactory(t).device(t)
	if o := abupdate("--disk", disk, "migrate", "finish"); o.code != codeNothing {
		t.Errorf("%+v", o)
	}
	if o := abupdate("--disk", writeTemp(t, make([]byte, 1<<20)), "migrate", "finish"); o.code != codeMigration {
		t.Errorf("a disk without a system: %+v", o)
	}
	if o := abupdate("--disk", disk, "migrate", "finish", "--due"); o.code != codeDone || o.stdout+o.stderr != "" {
		t.Errorf("--due: %+v", o)
	}
}
