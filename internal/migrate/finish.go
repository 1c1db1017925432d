package migrate

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
)

// ErrFinished is wrapped by the error of a finish that has nothing to do.
var ErrFinished = errors.New("the migration is finished")

// FinishMachine is what finish asks of the running machine.
type FinishMachine interface {
	// InUse names what uses the disk outside of the regions given: mounted
	// file systems and swap.
	InUse(keep []Region) ([]string, error)
	// SecureLoaders makes every way that the firmware may take lead to our
	// boot loader. save is called with what a sector held before it changes.
	SecureLoaders(esp partition.Part, id string, save func(SavedSectors) error) error
	// Carry brings the journal's trees into the volume that stays; it calls
	// complete once the copies are whole.
	Carry(j *Journal, complete func() error) error
	// Repartition tells the kernel of the new table. It returns false when the
	// kernel keeps to the old one until it starts again.
	Repartition(t *partition.Table) (bool, error)
}

// Finisher ends a migration: the old system goes, slot b and the data
// partition come. Slot a runs and is good, and boots at every moment.
type Finisher struct {
	Disk  blockdev.Device
	Store *bootctl.Store
	// Machine is nil for a disk image.
	Machine FinishMachine
	// Say tells what is being done.
	Say func(format string, args ...any)
}

// Finished is how a finish ended.
type Finished struct {
	// Reboot: the kernel sees slot b and data only after the next start.
	Reboot bool
}

// Finish does all that is left. Each step may be done again, so that after a
// cut the same call goes on; slot a boots in between.
func (f *Finisher) Finish() (Finished, error) {
	j, err := f.open()
	if err != nil {
		return Finished{}, err
	}
	table, err := partition.Read(f.Disk)
	if err != nil {
		return Finished{}, err
	}
	switch {
	case !sameTable(table, j.End):
		if err := f.giveUpOld(j); err != nil {
			return Finished{}, err
		}
		if err := f.repartition(j); err != nil {
			return Finished{}, err
		}
	case table.Scheme == partition.GPT && table.Backup != partition.CopyGood:
		// A cut between the two copies. Data may be in use by now: the table
		// only is written again.
		if err := partition.Write(f.Disk, j.End); err != nil {
			return Finished{}, err
		}
	}
	return f.conclude(j)
}

// open reads the journal and refuses what must not be finished.
func (f *Finisher) open() (*Journal, error) {
	j, err := RecordedJournal(f.Store)
	if err != nil {
		return nil, err
	}
	state, _, err := f.Store.State()
	switch {
	case err != nil:
		return nil, err
	case j.Phase == PhaseDone:
		return nil, ErrFinished
	case !state.A.OK:
		return nil, withHint(fmt.Errorf("%w: the new system is not committed, and the old one is the way back", ErrRefused),
			"wait for the health check to commit it, or decide now: abupdate commit")
	case j.End == nil || j.Trial == nil || j.DiskSize > f.Disk.Size():
		return nil, fmt.Errorf("%w: it was made for another disk", ErrJournal)
	}
	return j, nil
}

// giveUpOld goes past the point of no return.
func (f *Finisher) giveUpOld(j *Journal) error {
	if f.Machine != nil {
		if err := f.secure(j); err != nil {
			return err
		}
	}
	if err := f.carry(j); err != nil {
		return err
	}
	j.Phase = PhaseFinishing
	if err := j.Record(f.Store); err != nil {
		return err
	}
	// COMMIT POINT, the point of no return: one sector. Before it the old
	// system is whole and the way back; after it GRUB does not boot it any
	// more, whatever the boot state says, and none of its bytes has changed
	// yet. The boot state goes on saying that b is the old system until slot b
	// exists: so nobody writes to a partition that only has its number.
	if err := f.Store.InvalidateArgs(bootctl.SystemOld); err != nil {
		return err
	}
	return f.Store.InvalidateArgs(bootctl.SystemMigrator)
}

// secure asks the running machine whether nothing uses what is about to be
// overwritten, and secures the firmware's ways to us while there still is a way
// back.
func (f *Finisher) secure(j *Journal) error {
	users, err := f.Machine.InUse(j.kept())
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return withHint(fmt.Errorf("%w: volumes of the old system are in use: %s", ErrRefused, strings.Join(users, "; ")),
			"unmount them (umount, swapoff), and run the same command again")
	}
	if j.Firmware != "uefi" {
		return nil
	}
	for _, p := range j.End.Parts {
		if p.Type != partition.TypeESP {
			continue
		}
		err := f.Machine.SecureLoaders(p, f.Store.Layout().ID, func(s SavedSectors) error {
			j.saveFirst(s)
			return j.Record(f.Store)
		})
		if err != nil {
			return fmt.Errorf("making the firmware's other ways lead to our boot loader: %w", err)
		}
	}
	return nil
}

// carry brings customers' trees into the volume that stays, while the old
// system is whole. It changes nothing of the old system but that volume, which
// has these trees twice if the old one comes back after all.
func (f *Finisher) carry(j *Journal) error {
	_, err := f.Store.Args(bootctl.SystemOld)
	switch {
	case !j.carries() || err != nil:
		return nil
	case f.Machine == nil:
		return withHint(fmt.Errorf("%w: trees of customers' data are still in the old system", ErrRefused), "finish on the device itself")
	}
	f.Say("Bringing %d trees of customers' data to the data partition.", len(j.Trees))
	err = f.Machine.Carry(j, func() error {
		j.Carried = true
		return j.Record(f.Store)
	})
	if err != nil {
		return fmt.Errorf("bringing customers' data to the data partition: %w", err)
	}
	return nil
}

// repartition makes the disk what the plan drew for the end. As long as the
// table is not the new one all of it is done again: what it writes to has no
// entry in any table, and nobody can have used it.
func (f *Finisher) repartition(j *Journal) error {
	f.Say("Wiping what is left of the old system.")
	for _, s := range j.wipe() {
		if err := blockdev.Zero(f.Disk, s.from, s.size()); err != nil {
			return fmt.Errorf("wiping bytes [%d, %d) of the disk: %w", s.from, s.to, err)
		}
	}
	if err := f.Disk.Sync(); err != nil {
		return fmt.Errorf("wiping the old system: %w", err)
	}
	if j.DataMode == DataNew {
		f.Say("Making the file system for data, %s.", size(j.Data.Size))
		if err := MakeData(f.Disk, j.Data, newUUID()); err != nil {
			return err
		}
	}
	// COMMIT POINT: with the new table slot b and data exist. A cut before it
	// leaves the trial's table, with slot a in it.
	return partition.Write(f.Disk, j.End)
}

// conclude tells kernel, boot state and journal.
func (f *Finisher) conclude(j *Journal) (Finished, error) {
	var done Finished
	if f.Machine != nil {
		seen, err := f.Machine.Repartition(j.End)
		if err != nil {
			return done, err
		}
		done.Reboot = !seen
	}
	// Again, for a run that finds the table as it must be: they may have come
	// back by a migration that was begun and given up.
	for _, s := range []bootctl.System{bootctl.SystemOld, bootctl.SystemMigrator} {
		if err := f.Store.InvalidateArgs(s); err != nil {
			return done, err
		}
	}
	if err := f.Store.SetRecord(bootctl.RecordSlotB, nil); err != nil {
		return done, err
	}
	state, _, err := f.Store.State()
	if err != nil {
		return done, err
	}
	if state.BKind == bootctl.KindOld {
		// COMMIT POINT: one sector. From here on updates go to slot b.
		if err := f.Store.SetState(bootctl.GiveUpOld(state)); err != nil {
			return done, err
		}
	}
	j.Phase, j.Undo, j.Reason, j.FinishAt = PhaseDone, nil, "", 0
	return done, j.Record(f.Store)
}

// sameTable compares what a table says, and not in which condition it is.
func sameTable(a, b *partition.Table) bool {
	return a.Scheme == b.Scheme && a.DiskID == b.DiskID && reflect.DeepEqual(a.Parts, b.Parts)
}
