package partition

import (
	"errors"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

func otherMBR() *Table {
	t := mbrTable()
	t.DiskID = "feedface"
	t.Parts = []Part{{Number: 3, Start: 2 * mib, Size: 9 * mib, Type: TypeMBRLinux, PartUUID: "feedface-03"}}
	return t
}

func otherGPT() *Table {
	t := gptTable()
	t.Parts[2].Size = 2 * mib
	t.Parts = append(t.Parts, Part{
		Number: 6, Start: 8 * mib, Size: 4 * mib, Type: TypeLinux, PartUUID: "11111111-2222-4333-8444-555555555506", Name: "data",
	})
	return t
}

// TestCrashInTable: after a power cut at any operation the disk has the old
// table or the new one, and a GPT that GRUB could read stays readable; written
// again, and cut again, the same.
func TestCrashInTable(t *testing.T) {
	twice := formatted(t, gptTable()) // its entries lie in the second place
	if err := Write(twice, gptTable()); err != nil {
		t.Fatal(err)
	}
	lostPrimary := formatted(t, gptTable())
	poke(t, lostPrimary, sector, make([]byte, sector)...)
	lostBackup := formatted(t, gptTable())
	poke(t, lostBackup, 16*mib-sector, make([]byte, sector)...)

	for name, tc := range map[string]struct {
		base     *blockdevtest.Disk
		old, new *Table
		grub     bool // GRUB can boot by the old table
	}{
		"MBR over MBR":                  {formatted(t, mbrTable()), mbrTable(), otherMBR(), true},
		"MBR onto an empty disk":        {blockdevtest.New(16*mib, sector), nil, mbrTable(), false},
		"GPT over GPT":                  {formatted(t, gptTable()), gptTable(), otherGPT(), true},
		"GPT over GPT, other place":     {twice, gptTable(), otherGPT(), true},
		"GPT over a full GPT":           {formatted(t, fullGPT(1)), fullGPT(1), fullGPT(2), true},
		"GPT onto an empty disk":        {blockdevtest.New(16*mib, sector), nil, gptTable(), false},
		"GPT over one without primary":  {lostPrimary, gptTable(), otherGPT(), false},
		"GPT over one without a backup": {lostBackup, gptTable(), otherGPT(), true},
	} {
		check := func(c blockdevtest.Crash) error {
			got, err := Read(c.Disk)
			isNew := err == nil && sameParts(got, tc.new)
			isOld := err == nil && tc.old != nil && sameParts(got, tc.old)
			if tc.old == nil {
				isOld = errors.Is(err, ErrTable)
			}
			switch {
			case !isNew && !isOld, c.Done && !isNew, c.First != nil && c.First.Done && !isNew:
				return fmt.Errorf("%+v, %w", got, err)
			case tc.grub && tc.new.Scheme == GPT && got.Primary != CopyGood:
				return fmt.Errorf("the primary copy is %v", got.Primary)
			case c.Done && tc.new.Scheme == GPT && got.Backup != CopyGood:
				return fmt.Errorf("acknowledged, and the backup is %v", got.Backup)
			}
			return nil
		}
		write := func(d *blockdevtest.Disk) error { return Write(d, tc.new) }
		for _, physical := range []int{sector, 4096} {
			t.Run(fmt.Sprintf("%s, sectors of %d", name, physical), func(t *testing.T) {
				t.Parallel()
				base := tc.base.Clone()
				base.SetPhysicalSector(physical)
				blockdevtest.Campaign{
					Base: base, Run: write, Recover: write, Check: check,
					Excuse: "one physical sector holds the only table that GRUB reads",
				}.Test(t)
			})
		}
	}
}

// fullGPT uses every entry, so that each sector of the array differs from that
// of another n.
func fullGPT(n int64) *Table {
	t := gptTable()
	t.Parts = nil
	for i := range int64(newEntries) {
		t.Parts = append(t.Parts, Part{
			Number: int(i) + 1, Start: mib + i*64<<10, Size: n * 4096, Type: TypeLinux,
			PartUUID: fmt.Sprintf("11111111-2222-4333-%04x-%012x", 0x8000+n, i), Name: fmt.Sprintf("part %d of %d", i, n),
		})
	}
	return t
}

// TestWriteWithFaults fails each operation in turn: the error is reported and
// the table is the old one or the new one.
func TestWriteWithFaults(t *testing.T) {
	fault := errors.New("input/output error")
	for n := 0; ; n++ {
		d := formatted(t, gptTable()).Clone()
		d.Fail(n, fault, false)
		err := Write(d, otherGPT())
		if n >= d.Ops() {
			if err != nil {
				t.Errorf("no fault, but %v", err)
			}
			return
		}
		if !errors.Is(err, fault) {
			t.Errorf("operation %d failed, Write returned %v", n, err)
		}
		if got, err := Read(d); err != nil || got.Primary != CopyGood {
			t.Errorf("operation %d failed, the table is %+v, %v", n, got, err)
		}
	}
}
