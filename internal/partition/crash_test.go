package partition

import (
	"errors"
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

// TestWriteCutAnywhere: after a power cut at any operation the disk has the
// old table or the new one, and a GPT that GRUB could read stays readable.
func TestWriteCutAnywhere(t *testing.T) {
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
		"GPT onto an empty disk":        {blockdevtest.New(16*mib, sector), nil, gptTable(), false},
		"GPT over one without primary":  {lostPrimary, gptTable(), otherGPT(), false},
		"GPT over one without a backup": {lostBackup, gptTable(), otherGPT(), true},
	} {
		t.Run(name, func(t *testing.T) {
			points, err := blockdevtest.EachCrash(tc.base, func(d *blockdevtest.Disk) error { return Write(d, tc.new) },
				func(c blockdevtest.Crash) {
					got, err := Read(c.Disk)
					isNew := err == nil && sameParts(got, tc.new)
					isOld := err == nil && tc.old != nil && sameParts(got, tc.old)
					if tc.old == nil {
						isOld = errors.Is(err, ErrTable)
					}
					switch {
					case !isNew && !isOld, c.Done && !isNew:
						t.Errorf("%v: %+v, %v", c, got, err)
					case tc.grub && tc.new.Scheme == GPT && got.Primary != CopyGood:
						t.Errorf("%v: the primary copy is %v", c, got.Primary)
					}
					// The same command again finishes the job.
					if err := Write(c.Disk, tc.new); err != nil {
						t.Errorf("%v: writing again: %v", c, err)
					} else if got, err := Read(c.Disk); err != nil || !sameParts(got, tc.new) || got.Backup == CopyStale {
						t.Errorf("%v: after writing again: %+v, %v", c, got, err)
					}
				})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d crash points", points)
		})
	}
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
