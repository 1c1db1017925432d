package migrate

import (
	"errors"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// Aborted is the outcome of Abort.
type Aborted uint8

// The outcomes. The zero value is invalid.
const (
	// AbortedClean: everything is as it was before prepare.
	AbortedClean Aborted = iota + 1
	// AbortedReboot: the old loader is in charge again; the kernel forgets the
	// trial's partitions with the next reboot.
	AbortedReboot
	// AbortedToOld: the next boot is the old system's, where abort goes on.
	AbortedToOld
)

// Abort takes a migration back, as far as it has come. After the point of no
// return it refuses.
func Abort() (Aborted, error) {
	h, err := thisHost()
	if err != nil {
		return 0, err
	}
	unlock, err := h.lock()
	if err != nil {
		return 0, err
	}
	defer unlock.Close()
	return h.abort()
}

func (h *host) abort() (Aborted, error) {
	boot, err := h.bootedBy()
	if err != nil {
		return 0, err
	}
	if boot == nil {
		return h.abortPrepared()
	}
	c, err := h.openCharge(boot, true)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if c.j == nil {
		return 0, fmt.Errorf("%w: no migration has been made here", update.ErrNothing)
	}
	switch c.j.Phase {
	case PhaseStreaming, PhaseFinishing, PhaseDone:
		return 0, fmt.Errorf("%w: the migration is in the phase %q: the old system is no more", ErrRefused, c.j.Phase)
	case PhasePreparing, PhasePrepared, PhaseStarted, PhaseTrial, PhaseFailed, PhaseCommitted:
	}
	if err := c.check(); err != nil {
		return 0, err
	}
	if boot.System != bootctl.SystemOld {
		return AbortedToOld, c.backToOld()
	}
	return AbortedReboot, h.abortStarted(c)
}

// backToOld lets the new system, whichever it is, give way to the old one.
func (c *charge) backToOld() error {
	state, _, err := c.store.State()
	if err != nil {
		return err
	}
	c.j.Phase, c.j.Reason = PhaseFailed, "it was aborted on request"
	if err := c.save(); err != nil {
		return err
	}
	// COMMIT POINT: the next boot is the old system's.
	return c.store.SetState(bootctl.BackToOld(state))
}

// abortPrepared undoes prepare while the old loader is in charge, and a
// switch that was cut before it took effect.
func (h *host) abortPrepared() (Aborted, error) {
	j, err := h.readJournalFile()
	if err != nil {
		j = nil // whatever it says, what it made goes
	} else if j == nil {
		left, err := h.leftovers()
		if err != nil || !left {
			return 0, errors.Join(err, fmt.Errorf("%w: no migration has been prepared", update.ErrNothing))
		}
	}
	if j == nil || j.Boot == (Region{}) {
		return AbortedClean, h.removeFiles()
	}
	s, _, err := h.surveyMachine()
	if err != nil {
		return 0, err
	}
	disk, err := h.openWrite(s.Disk.Name)
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	if err := h.takeBack(s, disk, j); err != nil {
		return 0, err
	}
	return AbortedClean, h.removeFiles()
}

// leftovers reports whether there are carved files without a journal.
func (h *host) leftovers() (bool, error) {
	for _, name := range carvedFiles {
		if path, err := h.findCarved(name); err != nil || path != "" {
			return true, err
		}
	}
	return false, nil
}

// abortStarted gives the boot back to the old loader, on an old system that
// our GRUB has booted.
func (h *host) abortStarted(c *charge) error {
	s, _, err := h.surveyMachine()
	if err != nil {
		return err
	}
	if err := h.takeBack(s, c.disk, c.j); err != nil {
		return err
	}
	return h.removeFiles()
}

// takeBack puts the old loader and the old table in force again. It may be
// repeated.
func (h *host) takeBack(s *Survey, disk blockdev.Device, j *Journal) error {
	if j.Firmware == "uefi" {
		// COMMIT POINT on UEFI: the firmware's order without our entry.
		if err := h.removeLoader(s); err != nil {
			return err
		}
	}
	mine, err := j.tableIsMine(disk, s.Disk.Table)
	if err != nil {
		return err
	}
	if mine {
		writes := make([]partition.SectorWrite, len(j.Undo))
		for i, u := range j.Undo {
			writes[i] = partition.SectorWrite(u)
		}
		// COMMIT POINT on BIOS: the first sector, which comes first.
		if err := partition.WriteSectors(disk, writes); err != nil {
			return fmt.Errorf("%w: taking the switch back: %w", update.ErrWrite, err)
		}
	}
	return h.forget(s, disk, j)
}

// tableIsMine reports whether the table in force is that of the trial, or the
// one that Undo leads back to. If not, somebody has changed it since the
// switch: what was saved must not be written over that.
func (j *Journal) tableIsMine(disk blockdev.Device, now *partition.Table) (bool, error) {
	if len(j.Undo) == 0 || now == nil {
		return false, nil
	}
	if sameParts(now, j.Trial) {
		return true, nil
	}
	old, err := partition.Read(&undone{disk, j.Undo})
	if err != nil {
		return false, fmt.Errorf("the table that was saved: %w", err)
	}
	return sameParts(now, old), nil
}

// undone is a disk as it would be with the saved sectors written back.
type undone struct {
	blockdev.Device
	saved []SavedSectors
}

// ReadAt implements blockdev.Device.
func (u *undone) ReadAt(p []byte, off int64) (int, error) {
	n, err := u.Device.ReadAt(p, off)
	for _, s := range u.saved {
		if from := max(off, s.Off); from < off+int64(len(p)) && from < s.Off+int64(len(s.Bytes)) {
			copy(p[from-off:], s.Bytes[from-s.Off:])
		}
	}
	return n, err
}

// sameParts compares what is where in two tables.
func sameParts(a, b *partition.Table) bool {
	return slices.EqualFunc(a.Parts, b.Parts, func(a, b partition.Part) bool {
		return a.Number == b.Number && a.Start == b.Start && a.Size == b.Size
	})
}

// forget makes the state file unrecognisable: a later search for one must not
// find that of a migration that never was. Only while its blocks are still
// ours.
func (h *host) forget(s *Survey, disk blockdev.Device, j *Journal) error {
	if j.StateOff == 0 {
		return nil
	}
	dev, ok := disk.(device)
	if !ok {
		return errors.New("internal error: a disk that cannot be closed")
	}
	r, err := h.openRegion(s, dev, fileAbboot, j.Boot, false)
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := disk.WriteAt(blockdev.AlignedBuffer(2*blockUnit), j.StateOff); err != nil {
		return err
	}
	return disk.Sync()
}
