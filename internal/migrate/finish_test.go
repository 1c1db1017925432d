package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

// migrated is a disk whose new system in slot a is committed, with the old
// system still there.
type migrated struct {
	disk    *blockdevtest.Disk
	journal *Journal
	layout  bootctl.Layout
	before  *blockdevtest.Disk
}

// The disk of these tests. The old system has /boot in a partition and a
// physical volume in another, which carved abboot and slot a lie in.
const (
	finishDisk = 40 * mib
	oldBootAt  = 1 * mib
	oldBootLen = 2 * mib
	oldPVAt    = 3 * mib
	oldPVLen   = 36 * mib
	newBootAt  = 4 * mib
	newBootLen = 10 * mib
	oldRootAt  = 15 * mib
	newAAt     = 16 * mib
	newALen    = 1 * mib
	newBAt     = 2 * mib
	homeAt     = 20 * mib // a logical volume, in one run
	homeLen    = 17 * mib
	espAt      = 38 * mib
)

func newMigrated(t *testing.T, scheme partition.Scheme, mode DataMode) *migrated {
	t.Helper()
	disk := blockdevtest.New(finishDisk, 512)
	junk := make([]byte, finishDisk)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(junk); i += 512 { // cheap, and no sector is like another
		b := byte(rng.Uint32())
		for k := range 16 {
			junk[i+k] = b + byte(k)
		}
	}
	clear(junk[:oldBootAt])
	clear(junk[finishDisk-mib:])
	if _, err := disk.WriteAt(junk, 0); err != nil {
		t.Fatal(err)
	}
	part := func(number int, start, size int64) partition.Part {
		p := partition.Part{Number: number, Start: start, Size: size, Type: partition.TypeMBRLinux, PartUUID: fmt.Sprintf("c0ffee00-%02x", number)}
		if scheme == partition.GPT {
			p.Type, p.PartUUID = partition.TypeLinux, fmt.Sprintf("0fc63daf-8483-4772-8e79-0000000000%02x", number)
		}
		return p
	}
	id := "c0ffee00"
	if scheme == partition.GPT {
		id = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	}
	j := &Journal{
		Format: 1, Phase: PhaseCommitted, Layout: L1, Tier: Carve, Firmware: "bios", DiskID: id, DiskSize: finishDisk, SlotSize: newALen,
		Boot: Region{newBootAt, newBootLen}, A: Region{newAAt, newALen}, B: Region{newBAt, newALen}, Data: Region{homeAt, homeLen},
		BootNumber: 3, ANumber: 4, BNumber: 1, DataNumber: 2, DataMode: mode, KeepOld: -1,
		Old: []OldVolume{
			{Name: "sda1", Mount: "/boot", Filesystem: "xfs", Map: partition.DeviceMap{{Disk: oldBootAt, Len: oldBootLen}}},
			{Name: "sda2", Filesystem: "LVM2_member", Map: partition.DeviceMap{{Disk: oldPVAt, Len: oldPVLen}}},
			{Name: "vg/root", Mount: "/", Filesystem: "xfs", Map: partition.DeviceMap{{Disk: oldRootAt, Len: 5 * mib}}},
			{Name: "vg/home", Mount: "/home", Filesystem: "xfs", Map: partition.DeviceMap{{Disk: homeAt, Len: homeLen}}},
		},
	}
	old := []partition.Part{part(1, oldBootAt, oldBootLen), part(2, oldPVAt, oldPVLen)}
	made := []partition.Part{part(3, newBootAt, newBootLen), part(4, newAAt, newALen)}
	j.Trial = &partition.Table{Scheme: scheme, DiskID: id, Parts: append(append([]partition.Part{}, old...), made...)}
	j.End = &partition.Table{Scheme: scheme, DiskID: id, Parts: append([]partition.Part{part(1, newBAt, newALen), part(2, homeAt, homeLen)}, made...)}
	if err := partition.Write(disk, &partition.Table{Scheme: scheme, DiskID: id, Parts: old}); err != nil {
		t.Fatal(err)
	}
	change, err := partition.PlanSwitch(disk, j.Trial, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range change.Undo {
		j.Undo = append(j.Undo, SavedSectors(w))
	}
	if err := change.Apply(disk); err != nil {
		t.Fatal(err)
	}
	m := &migrated{journal: j, layout: bootctl.Layout{ID: "0badcafe", BootPart: 3, APart: 4, BPart: 1, DataPart: 2}}
	m.format(t, disk)
	m.disk, m.before = disk.Clone(), disk.Clone()
	return m
}

// format sets abboot's files up.
func (m *migrated) format(t *testing.T, disk *blockdevtest.Disk) {
	t.Helper()
	at := int64(newBootAt)
	for _, f := range bootctl.PreallocatedFiles() {
		if err := m.layout.Place(f.Path, bootctl.Extent{Off: at, Len: f.Size}); err != nil {
			t.Fatal(err)
		}
		at += (f.Size + 4095) / 4096 * 4096
	}
	state := bootctl.Commit(bootctl.TrialOfMigrated(bootctl.State{Seq: 1, Primary: slot.A, BKind: bootctl.KindSlot}, 2), slot.A)
	err := bootctl.Format(disk, m.layout, state)
	store, openErr := bootctl.Open(disk, m.layout.State.Off)
	if err := errors.Join(err, openErr); err != nil {
		t.Fatal(err)
	}
	for _, s := range []bootctl.System{bootctl.SystemA, bootctl.SystemOld, bootctl.SystemMigrator} {
		err = errors.Join(err, store.SetArgs(s, bootctl.Args{Device: "console=ttyS0"}))
	}
	err = errors.Join(err, store.SetRecord(bootctl.RecordSlotB, []byte("of a system that never was in slot b")))
	if err := errors.Join(err, m.journal.Record(store)); err != nil {
		t.Fatal(err)
	}
}

func (m *migrated) finisher(t testing.TB, disk blockdev.Device) (*Finisher, error) {
	store, err := bootctl.Open(disk, m.layout.State.Off)
	if err != nil {
		return nil, err
	}
	return &Finisher{Disk: disk, Store: store, Say: t.Logf}, nil
}

// finish is what the machine does at each start until the journal says done.
func (m *migrated) finish(t testing.TB) func(*blockdevtest.Disk) error {
	return func(disk *blockdevtest.Disk) error {
		f, err := m.finisher(t, disk)
		if err != nil {
			return err
		}
		f.Say = func(string, ...any) {}
		if _, err := f.Store.Repair(bootctl.SystemA); err != nil {
			return err
		}
		if _, err := f.Finish(); !errors.Is(err, ErrFinished) {
			return err
		}
		return nil
	}
}

func TestFinish(t *testing.T) {
	t.Parallel()
	for _, scheme := range []partition.Scheme{partition.MBR, partition.GPT} {
		for _, mode := range []DataMode{DataNew, DataInPlace} {
			t.Run(fmt.Sprintf("%v, %s", scheme, mode), func(t *testing.T) {
				t.Parallel()
				m := newMigrated(t, scheme, mode)
				disk := m.disk
				f, err := m.finisher(t, disk)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.Finish(); err != nil {
					t.Fatal(err)
				}
				if err := m.check(disk, true); err != nil {
					t.Error(err)
				}
				m.finished(t, disk)
				if _, err := f.Finish(); !errors.Is(err, ErrFinished) {
					t.Errorf("a second time: %v", err)
				}
			})
		}
	}
}

// TestCrashFinish cuts the power at each write of finish, and again in the run
// that goes on: slot a boots, GRUB reads the table, the old system is whole for
// as long as it is complete, and nothing that stays is touched.
func TestCrashFinish(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		scheme   partition.Scheme
		mode     DataMode
		physical int
	}{
		{partition.MBR, DataNew, 512}, {partition.MBR, DataInPlace, 4096}, {partition.GPT, DataNew, 4096}, {partition.GPT, DataInPlace, 512},
	} {
		t.Run(fmt.Sprintf("%v, %s, sectors of %d", v.scheme, v.mode, v.physical), func(t *testing.T) {
			t.Parallel()
			m := newMigrated(t, v.scheme, v.mode)
			m.disk.SetPhysicalSector(v.physical)
			m.disk.LargeWritesAreZeros()
			run := m.finish(t)
			campaign := blockdevtest.Campaign{
				Base: m.disk, Run: run, Recover: run, Recoveries: 1,
				Check: func(c blockdevtest.Crash) error {
					done := c.Done && c.First == nil || c.First != nil && (c.First.Done || c.Done)
					err := m.check(c.Disk, done)
					if err != nil && !errors.Is(err, errNoTable) {
						t.Errorf("%v: %v", c, err) // never excused
					}
					return err
				},
			}
			if v.physical > 512 {
				campaign.Excuse = "the table's own sector, which no order of writes can save"
			}
			campaign.Test(t)
		})
	}
}

// TestFaultFinish: each failing operation is an error that the next run makes
// up for.
func TestFaultFinish(t *testing.T) {
	t.Parallel()
	for name, fault := range blockdevtest.QuickFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMigrated(t, partition.GPT, DataInPlace)
			for fault.At = 0; m.fails(t, fault); fault.At++ {
			}
			t.Logf("%d operations failed in turn", fault.At)
		})
	}
}

// fails finishes with a fault, and reports whether that struck.
func (m *migrated) fails(t *testing.T, fault blockdevtest.Fault) bool {
	t.Helper()
	disk := m.disk.Clone()
	disk.Inject(fault)
	err := m.finish(t)(disk)
	if disk.Ops() <= fault.At {
		crashMust(t, err)
		return false
	}
	if !errors.Is(err, fault.Err) && (err != nil || fault.Only == nil) {
		t.Errorf("operation %d failed, and the error is %v", fault.At, err)
	}
	disk = disk.Clone()
	if err := m.check(disk, err == nil); err != nil {
		t.Errorf("operation %d failed: %v", fault.At, err)
	}
	if err := m.finish(t)(disk); err != nil {
		t.Errorf("operation %d failed; then: %v", fault.At, err)
	}
	if err := m.check(disk, true); err != nil {
		t.Errorf("operation %d failed; in the end: %v", fault.At, err)
	}
	return true
}

func TestFinishRefusals(t *testing.T) {
	t.Parallel()
	m := newMigrated(t, partition.MBR, DataNew)
	rows := map[string]struct {
		change func(*Finisher) error
		want   error
	}{
		"not committed": {func(f *Finisher) error {
			state, _, err := f.Store.State()
			return errors.Join(err, f.Store.SetState(bootctl.TrialOfMigrated(state, 2)))
		}, ErrRefused},
		"never migrated": {func(f *Finisher) error { return f.Store.SetRecord(bootctl.RecordJournal, nil) }, ErrNoJournal},
		"in use": {func(f *Finisher) error {
			f.Machine = &fakeMachine{inUse: []string{"dm-0 is mounted at /mnt"}}
			return nil
		}, ErrRefused},
		"another disk":    {func(f *Finisher) error { j := *m.journal; j.DiskSize *= 2; return j.Record(f.Store) }, ErrJournal},
		"journal damaged": {func(f *Finisher) error { return f.Store.SetRecord(bootctl.RecordJournal, []byte("{")) }, ErrJournal},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := m.disk.Clone()
			f, err := m.finisher(t, disk)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.change(f); err != nil {
				t.Fatal(err)
			}
			before := len(disk.Log())
			if _, err := f.Finish(); !errors.Is(err, r.want) {
				t.Errorf("%v, want %v", err, r.want)
			}
			if len(disk.Log()) != before {
				t.Error("a refused finish has written")
			}
		})
	}
}

// fakeMachine answers for the running machine.
type fakeMachine struct {
	inUse    []string
	loaders  func(save func(SavedSectors) error) error
	busy     bool
	repeated int
	carry    error
}

func (m *fakeMachine) Carry(_ *Journal, complete func() error) error {
	if m.carry != nil {
		return m.carry
	}
	return complete()
}

func (m *fakeMachine) InUse([]Region) ([]string, error) { return m.inUse, nil }

func (m *fakeMachine) SecureLoaders(_ partition.Part, _ string, save func(SavedSectors) error) error {
	return m.loaders(save)
}

func (m *fakeMachine) Repartition(*partition.Table) (bool, error) {
	m.repeated++
	return !m.busy, nil
}

// TestFinishOnAMachine: a kernel that keeps to the old table is said, and the
// loaders are secured, and what they held saved, before the point of no return.
func TestFinishOnAMachine(t *testing.T) {
	t.Parallel()
	m := newMigrated(t, partition.GPT, DataInPlace)
	m.journal.Firmware = "uefi"
	esp := partition.Part{Number: 9, Start: espAt, Size: mib, Type: partition.TypeESP, PartUUID: "0fc63daf-8483-4772-8e79-000000000009"}
	m.journal.End.Parts = append(m.journal.End.Parts, esp)
	m.journal.Trial.Parts = append(m.journal.Trial.Parts, esp)
	f, err := m.finisher(t, m.disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.journal.Record(f.Store); err != nil {
		t.Fatal(err)
	}
	machine := &fakeMachine{busy: true}
	machine.loaders = func(save func(SavedSectors) error) error {
		if _, err := f.Store.Args(bootctl.SystemOld); err != nil {
			t.Errorf("the loaders are secured after the point of no return: %v", err)
		}
		if err := save(SavedSectors{Off: espAt, Bytes: []byte("vendor")}); err != nil {
			return err
		}
		j, err := RecordedJournal(f.Store)
		if err != nil || !bytes.Equal(j.Undo[0].Bytes, []byte("vendor")) {
			t.Errorf("not saved: %v", err)
		}
		return nil
	}
	f.Machine = machine
	done, err := f.Finish()
	if err != nil || !done.Reboot || machine.repeated != 1 {
		t.Errorf("%+v, %v, %d times", done, err, machine.repeated)
	}
}
