//go:build qemu && long

package qemu

import (
	"cmp"
	"crypto/sha256"
	"io"
	"os"
	"slices"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/partition"
)

// constants are those parts of abboot that are never written again: kernels,
// grub.cfg, core.img.
func (r *migrateReplay) constants() []migrate.Region {
	changing := append([]bootctl.Extent{r.layout.State}, r.layout.Env[:]...)
	changing = append(changing, r.layout.Args[:]...)
	slices.SortFunc(changing, func(a, b bootctl.Extent) int { return cmp.Compare(a.Off, b.Off) })
	var parts []migrate.Region
	at := r.journal.Boot.Start
	for _, e := range append(changing, bootctl.Extent{Off: r.journal.Boot.End()}) {
		parts = append(parts, migrate.Region{Start: at, Size: e.Off - at})
		at = e.End()
	}
	return parts
}

// constant is the hash of the constants.
func (r *migrateReplay) constant(disk string) ([]byte, error) {
	f, err := os.Open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	for _, c := range r.constants() {
		if _, err := io.Copy(h, io.NewSectionReader(f, c.Start, c.Size)); err != nil {
			return nil, err
		}
	}
	return h.Sum(nil), nil
}

func overlap(a, b migrate.Region) bool {
	return a.Size > 0 && b.Size > 0 && a.Start < b.End() && b.Start < a.End()
}

// checkPlace fails for a write to what may still be wanted: the old system's
// volumes as long as it is a way back, and from gather's point of no return on
// what it streams from. What the old system writes before the migrator's turn
// is its own.
func (r *migrateReplay) checkPlace(i int) {
	r.t.Helper()
	e := r.log.Entries[i]
	at := migrate.Region{Start: e.Off, Size: e.Len}
	inside := func(own migrate.Region) bool { return own.Size > 0 && at.Start >= own.Start && at.End() <= own.End() }
	if e.Len == 0 || i < r.turn || r.finished {
		return
	}
	within := func(m partition.DeviceMap) bool {
		return slices.ContainsFunc(m, func(run partition.Run) bool { return overlap(at, migrate.Region{Start: run.Disk, Size: run.Len}) })
	}
	if within(r.stage.Bundle) || r.givenUp && within(r.stage.Archive) {
		r.t.Errorf("write %d to bytes [%d, %d) overwrites what gather streams from", i, at.Start, at.End())
	}
	if r.givenUp || inside(r.journal.Boot) || inside(r.journal.A) || inside(r.journal.Data) || within(r.stage.Archive) {
		return
	}
	for _, v := range r.journal.Old {
		if within(v.Map) {
			r.t.Errorf("write %d to bytes [%d, %d) belongs to the old system's %s", i, at.Start, at.End(), v.Name)
			return
		}
	}
}

// noteGivenUp looks for what must be durable before anything of the old system
// is written over, by the migrator (gather) or by finish: that its args block
// is gone. The migrator's goes before finish wipes the rest.
func (r *migrateReplay) noteGivenUp(durable *os.File, flushed int) {
	r.t.Helper()
	if flushed < r.turn {
		return
	}
	shadow, err := newShadow(durable.Name())
	r.must(err)
	st, err := bootctl.Open(shadow, r.layout.State.Off)
	r.must(err)
	_, err = st.Args(bootctl.SystemOld)
	r.givenUp = r.givenUp || err != nil
	_, err = st.Args(bootctl.SystemMigrator)
	r.finished = r.finished || err != nil
}
