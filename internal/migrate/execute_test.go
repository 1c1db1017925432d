package migrate

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
)

func (b *bed) store(disk *blockdevtest.Disk) *bootctl.Store {
	b.t.Helper()
	store, err := bootctl.Open(disk, b.layout.State.Off)
	crashMust(b.t, err)
	return store
}

// migrator is one that has just been started on a disk.
func (b *bed) migrator(disk *blockdevtest.Disk) *Migrator {
	return &Migrator{
		Disk: disk, Store: b.store(disk), Dir: b.t.TempDir(), Log: NewLog(io.Discard),
		Kernel: &bedKernel{disk, make(map[string]Region), make(map[string]string)},
	}
}

func (b *bed) journal(disk *blockdevtest.Disk) *Journal {
	b.t.Helper()
	j, err := RecordedJournal(b.store(disk))
	crashMust(b.t, err)
	return j
}

// TestMigratorLeadsToATrial: behind the new system's trials is the old system,
// or the migrator where that is no more; the kernel arguments are those of the
// device, of the image, and of the configuration.
func TestMigratorLeadsToATrial(t *testing.T) {
	for tier, behind := range map[Tier]bootctl.System{Carve: bootctl.SystemOld, Gather: bootctl.SystemMigrator} {
		b := newCrashBed(t, tier)
		disk := b.base.Clone()
		crashMust(t, b.migrate(disk))
		if args, err := b.store(disk).Args(bootctl.SystemA); err != nil || args.Image != "quiet" || !strings.HasPrefix(args.Device, "console=ttyS0") {
			t.Errorf("%s: kernel arguments %+v, %v", tier, args, err)
		}
		for n := range trialTries {
			if o := b.boot(disk); o.System != bootctl.SystemA {
				t.Errorf("%s: trial %d: %v", tier, n+1, o)
			}
		}
		if sys, err := b.powerOn(disk); sys != behind || err != nil {
			t.Errorf("%s: behind the trials is %v, %v", tier, sys, err)
		}
		if j := b.journal(disk); j.Phase != PhaseTrial || j.Attempts != 1 || j.Reason != "" || !strings.Contains(j.Log, "slot a") {
			t.Errorf("%s: journal: %+v", tier, j)
		}
	}
}

// deafKernel is a kernel that refuses to mount the old system.
type deafKernel struct {
	Kernel
	err error
}

func (k deafKernel) Mount(node, dir, filesystem string, readOnly bool) error {
	if readOnly {
		return k.err
	}
	return k.Kernel.Mount(node, dir, filesystem, readOnly)
}

// TestMigratorGoesBack: whatever goes wrong before a point of no return, the
// old system comes back untouched at once, and the journal says why.
func TestMigratorGoesBack(t *testing.T) {
	journal := func(change func(*Journal)) func(*bed) {
		return func(b *bed) {
			j := b.journal(b.base)
			change(j)
			crashMust(b.t, j.Record(b.store(b.base)))
		}
	}
	for name, tc := range map[string]struct {
		tier   Tier
		damage func(b *bed)
		mount  error
		want   string
	}{
		"slot a was overwritten":              {tier: Carve, damage: func(b *bed) { b.write(make([]byte, sector), bedA+400<<10) }, want: "does not hold the image that was signed"},
		"the old system is not clean":         {tier: Carve, mount: unix.EROFS, want: "not shut down cleanly"},
		"the old system is not clean, gather": {tier: Gather, mount: unix.EROFS, want: "not shut down cleanly"},
		"the old system has no root":          {tier: Carve, damage: journal(func(j *Journal) { j.Old[0].Mount = "/home" }), want: "no root file system"},
		"no room for copies":                  {tier: Carve, damage: journal(func(j *Journal) { j.DataMode = DataCopy }), want: "no room was made"},
		"started in the wrong phase":          {tier: Carve, damage: journal(func(j *Journal) { j.Phase = PhasePrepared }), want: `phase "prepared"`},
		"the bundle was damaged":              {tier: Gather, damage: func(b *bed) { b.write(make([]byte, 4096), bedStage+100<<10) }, want: "bundle"},
		"the stage map was damaged":           {tier: Gather, damage: func(b *bed) { b.write(make([]byte, sector), b.j.Stage.Map.Start) }, want: "stage map"},
		"no stage":                            {tier: Gather, damage: journal(func(j *Journal) { j.Stage = nil }), want: "no stage"},
		"the record of slot a is lost":        {tier: Carve, damage: func(b *bed) { crashMust(b.t, b.store(b.base).SetRecord(bootctl.RecordSlotA, nil)) }, want: "slot record"},
		"another key is trusted now": {tier: Carve, damage: func(b *bed) {
			key, err := bundle.GenerateKey(bundle.Ed25519)
			crashMust(b.t, err)
			ring, err := bundle.NewKeyring(1)
			crashMust(b.t, err)
			crashMust(b.t, ring.Add(key.Public()))
			crashMust(b.t, b.store(b.base).SetRecord(bootctl.RecordKeyring, ring.Marshal()))
		}, want: "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newCrashBed(t, tc.tier)
			if tc.damage != nil {
				tc.damage(b)
			}
			disk := b.base.Clone()
			if sys, err := b.powerOn(disk); sys != bootctl.SystemMigrator || err != nil {
				t.Fatalf("%v starts, %v", sys, err)
			}
			m := b.migrator(disk)
			if tc.mount != nil {
				m.Kernel = deafKernel{m.Kernel, tc.mount}
			}
			outcome, err := m.Run(context.Background())
			if outcome != ToOld || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("outcome %d, %v, want %q", outcome, err, tc.want)
			}
			if sys, err := b.powerOn(disk); sys != bootctl.SystemOld || err != nil {
				t.Errorf("then %v starts, %v", sys, err)
			}
			if j := b.journal(disk); j.Phase != PhaseFailed || !strings.Contains(j.Reason, tc.want) || j.Log == "" {
				t.Errorf("journal: phase %s, reason %q, log %q", j.Phase, j.Reason, j.Log)
			}
		})
	}
}

// TestMigratorStandsForTheOldSystem: behind the point of no return of gather a
// trial that fails leads back to the migrator, which streams again; after the
// third it waits, and goes on when it is told to.
func TestMigratorStandsForTheOldSystem(t *testing.T) {
	b := newCrashBed(t, Gather)
	disk := b.base.Clone()
	for range maxFailures {
		crashMust(t, b.migrate(disk))
		for range trialTries {
			b.boot(disk)
		}
	}
	if sys, err := b.powerOn(disk); sys != bootctl.SystemMigrator || err != nil {
		t.Fatalf("after the last trial %v starts, %v", sys, err)
	}
	m := b.migrator(disk)
	if outcome, err := m.Run(context.Background()); outcome != Stuck || err == nil {
		t.Fatalf("outcome %d, %v", outcome, err)
	}
	m.Insist = true
	if outcome, err := m.Run(context.Background()); outcome != ToTrial || err != nil {
		t.Fatalf("when it insists: outcome %d, %v", outcome, err)
	}
	if sys, err := b.powerOn(disk); sys != bootctl.SystemA || err != nil {
		t.Errorf("then %v starts, %v", sys, err)
	}
}

// TestMigratorWithoutArchive: what is missing behind the point of no return is
// found before anything more is written.
func TestMigratorWithoutArchive(t *testing.T) {
	b := newCrashBed(t, Gather)
	crashMust(t, b.store(b.base).InvalidateArgs(bootctl.SystemOld))
	disk := b.base.Clone()
	for n := 1; n <= maxFailures; n++ {
		outcome, err := b.turn(disk)
		if want := map[bool]Outcome{false: Again, true: Stuck}[n == maxFailures]; outcome != want || !errors.Is(err, ErrJournal) {
			t.Errorf("turn %d: outcome %d, %v", n, outcome, err)
		}
	}
	got := make([]byte, len(b.before))
	_, err := disk.ReadAt(got, b.old.Start)
	crashMust(t, err)
	if string(got) != string(b.before) {
		t.Error("nothing could be streamed, but something was written")
	}
}

// TestMigratorMendsTheBootState: with both copies broken, and no other system to
// mend them, the migrator does.
func TestMigratorMendsTheBootState(t *testing.T) {
	b := newCrashBed(t, Gather)
	crashMust(t, b.migrate(b.base))
	crashMust(t, b.store(b.base).InvalidateArgs(bootctl.SystemA))
	for _, e := range b.layout.Env {
		b.write(make([]byte, sector), e.Off)
	}
	for n := range 12 { // the power fails before operation n; and once not at all
		disk := b.base.Clone()
		if o := b.boot(disk); o.System != bootctl.SystemMigrator || o.Why != bootctl.WhyStatic {
			t.Fatalf("%v starts", o)
		}
		if n > 0 {
			disk.Fail(n-1, unix.EIO, true)
		}
		if outcome, err := b.turn(disk); n == 0 && (outcome != ToTrial || err != nil) {
			t.Fatalf("outcome %d, %v", outcome, err)
		}
		disk = disk.Clone()
		crashMust(t, b.migrate(disk))
	}
}

// TestMigratorWhenFinished: one that is started where it has nothing to do
// leaves the boot state alone.
func TestMigratorWhenFinished(t *testing.T) {
	b := newCrashBed(t, Carve)
	store := b.store(b.base)
	s, _, err := store.State()
	crashMust(t, err)
	crashMust(t, store.SetState(bootctl.GiveUpOld(s)))
	before, _, err := store.State()
	crashMust(t, err)
	disk := b.base.Clone()
	if outcome, err := b.turn(disk); outcome != Again || err == nil {
		t.Errorf("outcome %d, %v", outcome, err)
	}
	if now, _, err := b.store(disk).State(); err != nil || now != before {
		t.Errorf("boot state %+v, %v; it was %+v", now, err, before)
	}
}

// TestStageKeepsOff: a stage that the streaming would overwrite, or that is not
// on the disk, is refused.
func TestStageKeepsOff(t *testing.T) {
	b := newCrashBed(t, Gather)
	for name, m := range map[string]partition.DeviceMap{
		"none":             nil,
		"in slot a":        {{Disk: bedA + mib, Len: 4096}},
		"across slot a":    {{Disk: bedA - 4096, Len: 8192}},
		"in abboot":        {{Disk: bedBoot, Len: 4096}},
		"behind the disk":  {{Disk: crashDisk - 4096, Len: 8192}},
		"with a hole":      {{Disk: bedStage, Len: 4096}, {Start: 8192, Disk: bedStage + mib, Len: 4096}},
		"far too long":     {{Disk: bedStage, Len: 1 << 62}},
		"negative":         {{Disk: -4096, Len: 4096}},
		"the first sector": {{Disk: 0, Len: 4096}},
	} {
		if err := checkStaged(m, b.j); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	crashMust(t, checkStaged(partition.DeviceMap{{Disk: bedStage + mib, Len: 4096}, {Start: 4096, Disk: bedStage, Len: 4096}}, b.j))
}

func TestStagedFile(t *testing.T) {
	disk := blockdevtest.New(mib, sector)
	f := stagedFile{disk, partition.DeviceMap{{Disk: 64 << 10, Len: 1024}, {Start: 1024, Disk: 4096, Len: 512}, {Start: 1536, Disk: 128 << 10, Len: 2048}}}
	want := make([]byte, 3584)
	for i := range want {
		want[i] = byte(i * 7 / 3)
	}
	for at := 0; at < len(want); at += 500 {
		if _, err := f.WriteAt(want[at:min(at+500, len(want))], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil || string(got) != string(want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := f.WriteAt([]byte{1, 2}, 3583); err == nil {
		t.Error("wrote behind the last piece")
	}
	b := make([]byte, 512)
	if _, err := disk.ReadAt(b, 4096); err != nil || string(b) != string(want[1024:1536]) {
		t.Errorf("the second piece is not where it belongs: %v", err)
	}
}
