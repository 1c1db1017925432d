//go:build qemu && long

package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/test/qemu/logwrites"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// judgeAll replays the log onto two copies of the disk: one takes each entry in
// turn, the other only what a flush has covered, and, for a moment each, some
// of the rest. A write of customers' data or of a system's own files changes
// nothing that a loader reads: such disks are counted and not opened again.
func (r *migrateReplay) judgeAll() {
	r.t.Helper()
	prefix, durable := r.scratch("prefix.img"), r.scratch("durable.img")
	var last string
	flushed, opened, since := 0, 0, true
	for n := range len(r.log.Entries) + 1 {
		if n > 0 {
			r.must(r.log.Apply(n-1, prefix))
			r.checkPlace(n - 1)
			since = since || r.matters(r.log.Entries[n-1])
		}
		for ; flushed < r.log.Flushed(n); flushed++ {
			r.must(r.log.Apply(flushed, durable))
		}
		r.judged++
		c := logwrites.Cut{Durable: n}
		r.others = append(r.others, migrateSample{fmt.Sprintf("after write %d", n), "", c})
		if !since {
			continue
		}
		now := r.expectSound(prefix, c, n)
		if now != last {
			r.turns = append(r.turns, migrateSample{fmt.Sprintf("before %s at %d", now, n), last, logwrites.Cut{Durable: max(0, n-1)}},
				migrateSample{fmt.Sprintf("at %s at %d", now, n), now, c})
			r.t.Logf("from write %d on it boots %s", n, now)
		}
		last = now
		r.expectSound(durable, logwrites.Cut{Durable: flushed}, n)
		r.noteGivenUp(durable, flushed)
		opened += 2
		for _, c := range r.log.Settle(n, 2, r.rng) {
			c.Pieces = slices.DeleteFunc(c.Pieces, func(p logwrites.Piece) bool { return !r.matters(r.log.Entries[p.Entry]) })
			undo, err := r.log.Try(c, durable)
			r.must(err)
			r.expectSound(durable, c, n)
			r.must(undo())
			opened++
		}
		// As long as something of it is in the cache, its order counts.
		since = slices.ContainsFunc(r.log.Entries[flushed:n], r.matters)
	}
	r.t.Logf("%d prefixes; %d disks opened and judged, a cache written out in part among them; acknowledged: %+v; the migrator from %d on", r.judged, opened, r.acks, r.turn)
	if r.judged < 300 || opened < 300 || r.turn == 0 {
		r.t.Errorf("that is too few")
	}
}

func (r *migrateReplay) scratch(name string) *os.File {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	r.must(vm.CopyDisk(path, r.before))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	r.must(err)
	r.t.Cleanup(func() { f.Close() })
	return f
}

// matters reports whether a loader reads what an entry writes: tables, boot
// code, abboot, the ESP.
func (r *migrateReplay) matters(e logwrites.Entry) bool {
	if e.Len == 0 {
		return e.Durable()
	}
	first := r.old.Parts[0]
	end := e.Off + e.Len
	return e.Off < first.Start || end > r.journal.DiskSize-34*512 || e.Off < r.journal.Boot.End() && end > r.journal.Boot.Start ||
		r.migration.layout.UEFI && e.Off < first.Start+first.Size
}

// expectSound fails the test if the disk after a cut before entry n is not as
// it must be. It returns what boots.
func (r *migrateReplay) expectSound(disk *os.File, c logwrites.Cut, n int) string {
	r.t.Helper()
	what, err := r.judge(disk, c, n)
	if err != nil {
		r.t.Errorf("before write %d, %v: %v", n, c, err)
	}
	return what
}

func (r *migrateReplay) judge(disk *os.File, c logwrites.Cut, n int) (string, error) {
	dev, err := blockdev.Open(disk.Name(), blockdev.Options{})
	if err != nil {
		return "nothing", err
	}
	defer dev.Close()
	table, err := partition.Read(dev)
	if err != nil {
		return "nothing", err
	}
	if table.Scheme == partition.GPT && table.Primary != partition.CopyGood && !r.migration.layout.UEFI {
		return "nothing", errors.New("GRUB reads the primary GPT, and it is broken")
	}
	by, err := r.loader(disk, n)
	if err != nil {
		return "nothing", err
	}
	if by == byOldLoader {
		return by, r.oldIsThere(table)
	}
	return r.ours(disk, c, n)
}

// loader tells which loader the firmware starts. UEFI's choice lies in its
// variables, which the log does not have: it is taken to be the old loader up
// to the acknowledgement of start, and ours from then on.
func (r *migrateReplay) loader(disk *os.File, n int) (string, error) {
	if r.migration.layout.UEFI {
		if len(r.acks) > 1 && n >= r.acks[1].entries {
			return "ours", nil
		}
		return byOldLoader, nil
	}
	lba0 := make([]byte, 512)
	if _, err := disk.ReadAt(lba0, 0); err != nil {
		return "", err
	}
	if bytes.Equal(lba0[:440], r.oldLBA0[:440]) {
		return byOldLoader, nil
	}
	core := int64(binary.LittleEndian.Uint64(lba0[0x5C:])) * 512
	if core < r.journal.Boot.Start || core >= r.journal.Boot.End() {
		return "", fmt.Errorf("the boot code is not the old one and leads to byte %d, abboot is at [%d, %d)", core, r.journal.Boot.Start, r.journal.Boot.End())
	}
	return "ours", nil
}

// oldIsThere checks what the old loader needs: the old partitions, where they
// were.
func (r *migrateReplay) oldIsThere(table *partition.Table) error {
	for _, p := range r.old.Parts {
		i := slices.IndexFunc(table.Parts, func(q partition.Part) bool { return q.Number == p.Number })
		if i < 0 || table.Parts[i].Start != p.Start || table.Parts[i].Size != p.Size {
			return fmt.Errorf("the old loader boots, and partition %d is not where it was", p.Number)
		}
	}
	return nil
}

// ours tells what our GRUB boots, and whether that is whole.
func (r *migrateReplay) ours(disk *os.File, c logwrites.Cut, n int) (string, error) {
	if c.Durable <= r.settled {
		constant, err := r.constant(disk.Name())
		if err != nil {
			return "nothing", err
		}
		if !bytes.Equal(constant, r.abboot) {
			return "nothing", errors.New("our loader is in charge, and abboot is not complete")
		}
	}
	shadow, err := newShadow(disk.Name())
	if err != nil {
		return "nothing", err
	}
	o := bootmodel.Machine{Dev: shadow, Layout: r.layout, Files: func(bootctl.System) bootmodel.Files { return bootmodel.Loadable }}.BootFully()
	what := o.System.String()
	if o.System == 0 || o.Why == bootctl.WhyStatic || o.Why == bootctl.WhyLastResort {
		return what, fmt.Errorf("GRUB boots %v", o)
	}
	if allowed := r.allowed(n); !slices.Contains(allowed, what) {
		return what, fmt.Errorf("GRUB boots %v; what was acknowledged allows %v", o, allowed)
	}
	if what == "a" && !r.sound["a"] {
		r.sound["a"] = true
		return what, r.newIsWhole(disk)
	}
	return what, nil
}

// allowed is what may boot after a cut before entry n: what the last
// acknowledgement promised, or the next one would.
func (r *migrateReplay) allowed(n int) []string {
	k := 0
	for k+1 < len(r.acks) && r.acks[k+1].entries <= n {
		k++
	}
	list := r.acks[k].what
	if k+1 < len(r.acks) {
		list = slices.Concat(list, r.acks[k+1].what)
	}
	return list
}

// newIsWhole looks into slot a when it boots for the first time: GRUB, which
// replays no journal, must find the bundle's kernel there.
func (r *migrateReplay) newIsWhole(disk *os.File) error {
	part := filepath.Join(r.dir, "slot-a.img")
	defer os.Remove(part)
	out, err := os.Create(part)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(disk, r.journal.A.Start, r.journal.A.Size)); err != nil {
		return err
	}
	if said, err := exec.Command("e2fsck", "-fn", part).CombinedOutput(); err != nil {
		return fmt.Errorf("slot a boots, and its file system is not clean: %w\n%s", err, said)
	}
	for _, want := range []string{"/boot/vmlinuz", "/boot/initramfs"} {
		if said, err := exec.Command("grub-fstest", part, "crc", "(loop0)"+want).CombinedOutput(); err != nil {
			return fmt.Errorf("slot a boots, and GRUB cannot read its %s: %w\n%s", want, err, said)
		}
	}
	return nil
}
