package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/partition"
)

// boots says what GRUB makes of the disk when the files of all systems are
// whole.
func (m *migrated) boots(disk *blockdevtest.Disk) bootmodel.Outcome {
	return bootmodel.Machine{Dev: disk, Layout: m.layout, Files: func(bootctl.System) bootmodel.Files { return bootmodel.Loadable }}.BootFully()
}

var errNoTable = errors.New("the table cannot be read")

// check says what is wrong with a disk after a cut.
func (m *migrated) check(disk *blockdevtest.Disk, done bool) error {
	store, err := bootctl.Open(disk, m.layout.State.Off)
	if err != nil {
		return err
	}
	_, argsErr := store.Args(bootctl.SystemOld)
	table, err := partition.Read(disk)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoTable, err)
	}
	if boots := m.boots(disk); boots.System != bootctl.SystemA || boots.Why != bootctl.WhyGood {
		return fmt.Errorf("boots %v", boots)
	}
	if table.Scheme == partition.GPT && table.Primary != partition.CopyGood {
		return fmt.Errorf("%w: the primary GPT is damaged", errNoTable)
	}
	trial, end := sameTable(table, m.journal.Trial), sameTable(table, m.journal.End)
	if !trial && !end {
		return fmt.Errorf("neither the table of the trial nor that of the end: %+v", table.Parts)
	}
	if err := m.untouched(disk, argsErr == nil); err != nil {
		return err
	}
	if err := m.told(store, argsErr == nil, done); err != nil {
		return err
	}
	if done && (!end || argsErr == nil) {
		return errors.New("acknowledged, and the old system is still there")
	}
	if end {
		return m.ended(disk)
	}
	return nil
}

// told holds what journal, boot state and records say against each other: whole
// is whether the old system boots.
func (m *migrated) told(store *bootctl.Store, whole, done bool) error {
	j, err := RecordedJournal(store)
	if err != nil {
		return err
	}
	state, _, err := store.State()
	if err != nil {
		return err
	}
	b, err := store.Record(bootctl.RecordSlotB)
	switch finished := state.BKind == bootctl.KindSlot; {
	case err != nil:
		return err
	case !whole && j.Phase != PhaseFinishing && j.Phase != PhaseDone:
		return fmt.Errorf("the old system is no more, and the phase is %q: abort would lead to it", j.Phase)
	case finished && len(b) > 0:
		return errors.New("slot b takes updates, and its record is of something else")
	case !finished && (done || j.Phase == PhaseDone):
		return errors.New("it is done, and the boot state still has an old system: no update would ever be taken")
	}
	return nil
}

// untouched compares what must never change; with whole, the old system boots
// and all of it belongs to that.
func (m *migrated) untouched(disk *blockdevtest.Disk, whole bool) error {
	filesEnd := m.layout.State.End()
	keep := []span{{filesEnd, newBootAt + newBootLen}, {newAAt, newAAt + newALen}}
	if m.journal.DataMode != DataNew {
		keep = append(keep, span{homeAt, homeAt + homeLen})
	}
	if whole {
		keep = append(keep, span{oldBootAt, newBootAt}, span{filesEnd, oldPVAt + oldPVLen})
	}
	for _, s := range keep {
		if !disk.SameIn(m.before, s.from, s.size()) {
			return fmt.Errorf("bytes in [%d, %d) were changed", s.from, s.to)
		}
	}
	return nil
}

// finished judges a finished disk.
func (m *migrated) finished(t *testing.T, disk *blockdevtest.Disk) {
	t.Helper()
	store, err := bootctl.Open(disk, m.layout.State.Off)
	if err != nil {
		t.Fatal(err)
	}
	state, _, err := store.State()
	if err != nil || state.BKind != bootctl.KindSlot || state.B != (bootctl.Flags{}) || !state.A.OK {
		t.Errorf("boot state %+v, %v", state, err)
	}
	if j, err := RecordedJournal(store); err != nil || j.Phase != PhaseDone || len(j.Undo) > 0 {
		t.Errorf("journal %+v, %v", j, err)
	}
	for _, s := range []bootctl.System{bootctl.SystemB, bootctl.SystemOld, bootctl.SystemMigrator} {
		if _, err := store.Args(s); err == nil {
			t.Errorf("%v is still complete", s)
		}
	}
}

// ended says what is wrong with a disk whose table is that of the end: nothing
// of the old system begins where it began, and data is a file system or what it
// was. Nothing would make up for that later: no run looks behind that table.
func (m *migrated) ended(disk *blockdevtest.Disk) error {
	first := make([]byte, 4096)
	for name, at := range map[string]int64{"old /boot": oldBootAt, "physical volume": oldPVAt, "old root": oldRootAt, "slot b": newBAt} {
		if _, err := disk.ReadAt(first, at); err != nil {
			return err
		}
		if !bytes.Equal(first, make([]byte, 4096)) {
			return fmt.Errorf("the table is that of the end, and something of %s is left", name)
		}
	}
	super := make([]byte, 2)
	if _, err := disk.ReadAt(super, homeAt+1024+56); err != nil {
		return err
	}
	if made := super[0] == 0x53 && super[1] == 0xEF; made != (m.journal.DataMode == DataNew) {
		return fmt.Errorf("the table is that of the end, and data has a file system: %v", made)
	}
	return nil
}
