package migrate

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
)

// copyData makes the data partition's file system and copies customers' data
// into it. It is made anew in each turn: a copy that was cut is not looked at.
func (m *Migrator) copyData(ctx context.Context, old *oldSystem) error {
	j := m.journal
	if j.DataMode != DataCopy {
		return nil
	}
	total, done := int64(0), int64(0)
	for _, t := range j.Trees {
		total += t.Bytes
	}
	m.Log.Printf("copying customers' data: %d trees, %d bytes", len(j.Trees), total)
	var uuid [16]byte
	if _, err := rand.Read(uuid[:]); err != nil {
		return err
	}
	if j.Copy.Size == 0 {
		return fmt.Errorf("%w: no room was made for the copies", ErrJournal)
	}
	if err := MakeData(m.Disk, j.Copy, uuid); err != nil {
		return err
	}
	return m.withMounted("ab-data", j.Copy, "ext4", func(root *os.Root) error {
		c := newTreeCopier(old.root, root, func(n int64) {
			done += n
			m.Log.Progress("copying customers' data", min(done, total), total)
		})
		for _, t := range j.Trees {
			if err := c.tree(ctx, t.Path); err != nil {
				return err
			}
		}
		return nil
	})
}
