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

// TestFaultInTable fails each operation in turn, in every way that there is,
// of a new table, of the switch to a trial table and of the way back: the error
// is reported, GRUB can read the old table or the new one, and the same again
// on a disk that works finishes the job.
func TestFaultInTable(t *testing.T) {
	type work struct {
		base *blockdevtest.Disk
		run  func(*blockdevtest.Disk) error
	}
	works := map[string]work{
		"MBR over MBR": {formatted(t, mbrTable()), func(d *blockdevtest.Disk) error { return Write(d, otherMBR()) }},
		"GPT over GPT": {formatted(t, gptTable()), func(d *blockdevtest.Disk) error { return Write(d, otherGPT()) }},
	}
	for _, tc := range switchCases(t) {
		undo := tc.plan(t, tc.base).Undo
		apply := func(d *blockdevtest.Disk) error {
			s, err := PlanSwitch(d, tc.trial, tc.bootCode)
			if err != nil {
				return err
			}
			return s.Apply(d)
		}
		switched := tc.base.Clone()
		if err := apply(switched); err != nil {
			t.Fatal(err)
		}
		works[tc.name+", switch"] = work{tc.base, apply}
		works[tc.name+", way back"] = work{switched, func(d *blockdevtest.Disk) error { return WriteSectors(d, undo) }}
	}
	for name, w := range works {
		t.Run(name, func(t *testing.T) {
			want := w.base.Clone()
			if err := w.run(want); err != nil {
				t.Fatal(err)
			}
			before, after := readTable(t, w.base), readTable(t, want)
			for _, fault := range blockdevtest.Faults() {
				for fault.At = 0; fault.At < want.Ops(); fault.At++ {
					d := w.base.Clone()
					d.Inject(fault)
					if err := w.run(d); !errors.Is(err, fault.Err) && (err != nil || fault.Only == nil) {
						t.Errorf("%+v: the error is %v", fault, err)
					}
					d = d.Clone()
					if got := readTable(t, d); !sameParts(got, before) && !sameParts(got, after) || got.Scheme == GPT && got.Primary != CopyGood {
						t.Errorf("%+v: the table is %+v", fault, got)
					}
					if err := w.run(d); err != nil || !sameParts(readTable(t, d), after) {
						t.Errorf("%+v: again: %v", fault, err)
					}
				}
			}
		})
	}
}

func readTable(t *testing.T, d *blockdevtest.Disk) *Table {
	t.Helper()
	table, err := Read(d)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
