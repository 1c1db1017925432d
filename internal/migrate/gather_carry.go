package migrate

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// apart splits the volume that becomes the data partition from the other old
// ones: it is mounted for writing, and never twice.
func (j *Journal) apart() (others *Journal, kept OldVolume, err error) {
	i := slices.IndexFunc(j.Old, func(v OldVolume) bool { return v.Name == j.DataVolume })
	if i < 0 {
		return nil, kept, fmt.Errorf("%w: it has no volume %q for data", ErrJournal, j.DataVolume)
	}
	c := *j
	c.Old = slices.Delete(slices.Clone(j.Old), i, i+1)
	return &c, j.Old[i], nil
}

// carries reports whether trees have to be brought into a volume that stays.
func (j *Journal) carries() bool { return j.DataMode == DataInPlace && len(j.Trees) > 0 }

// copyKept copies customers' trees into the volume that stays while the old
// system is whole: gather leaves nothing to copy from. The copies are hidden
// there until settleKept: an old system that comes back has nothing twice.
func (m *Migrator) copyKept(ctx context.Context) error {
	if !m.journal.carries() {
		return nil
	}
	others, kept, err := m.journal.apart()
	if err != nil {
		return err
	}
	rest := *m
	rest.journal = others
	return rest.withOld(func(old *oldSystem) error {
		// Mounted also when the copies are complete: a cut has left it unclean,
		// and what follows reads it without being able to recover it.
		return m.withMounted("ab-kept", m.journal.Data, oldFilesystems[kept.Filesystem], func(root *os.Root) error {
			if m.journal.Carried {
				return nil
			}
			m.Log.Printf("copying %d trees of customers' data to %s", len(m.journal.Trees), kept.Name)
			if err := copyTrees(ctx, old.root, root, m.journal, func(int64) {}); err != nil {
				return err
			}
			return m.save(func(j *Journal) { j.Carried = true })
		})
	})
}

// settleKept moves the copies to their places. The trial that follows is of a
// system for which there is no other.
func (m *Migrator) settleKept() error {
	if !m.journal.carries() {
		return nil
	}
	_, kept, err := m.journal.apart()
	if err != nil {
		return err
	}
	return m.withMounted("ab-kept", m.journal.Data, oldFilesystems[kept.Filesystem], settleCarried)
}
