package partition

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

var (
	oldCode = bytes.Repeat([]byte{0x0D}, BootCodeSize)
	ourCode = bytes.Repeat([]byte{0xAB}, BootCodeSize)
)

// switchCase is an old system's disk and the trial table for it: abboot and
// slot a lie within the last partition.
type switchCase struct {
	name     string
	base     *blockdevtest.Disk
	old      *Table
	trial    *Table
	bootCode []byte
}

func withinLast(old *Table) *Table {
	trial := *old
	trial.Parts = slices.Clone(old.Parts)
	last := trial.Parts[len(trial.Parts)-1]
	for i, number := range []int{last.Number - 1, last.Number + 1} {
		p := Part{Number: number, Start: last.Start + int64(i+1)*64<<10, Size: 64 << 10, Type: TypeMBRLinux, PartUUID: fmt.Sprintf("%s-%02x", old.DiskID, number)}
		if old.Scheme == GPT {
			p.Type, p.PartUUID, p.Name = TypeLinux, fmt.Sprintf("99999999-2222-4333-8444-5555555555%02d", number), "abboot"
		}
		trial.Parts = append(trial.Parts, p)
	}
	slices.SortFunc(trial.Parts, func(a, b Part) int { return a.Number - b.Number })
	return &trial
}

func switchCases(t *testing.T) []switchCase {
	mbrOld := mbrTable()
	mbrOld.Parts = []Part{mbrOld.Parts[0], mbrOld.Parts[1]}
	mbrOld.Parts[1].Number, mbrOld.Parts[1].PartUUID = 3, "0badf00d-03"
	early := gptTable() // no room for a second array in front of it
	early.Parts[0].Start, early.Parts[0].Size = 34*sector, 4*mib
	early.Parts[2].Size = 7 * mib
	grown := blockdevtest.New(20*mib, sector)
	whole := make([]byte, 16*mib)
	if _, err := formatted(t, gptTable()).ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	poke(t, grown, 0, whole...)
	twice := formatted(t, gptTable())
	if err := Write(twice, gptTable()); err != nil {
		t.Fatal(err)
	}
	cases := []switchCase{
		{name: "MBR", base: formatted(t, mbrOld), old: mbrOld, bootCode: ourCode},
		{name: "GPT, BIOS", base: formatted(t, gptTable()), old: gptTable(), bootCode: ourCode},
		{name: "GPT, UEFI", base: formatted(t, gptTable()), old: gptTable()},
		{name: "GPT, entries in the other place", base: twice, old: gptTable(), bootCode: ourCode},
		{name: "GPT, partition at sector 34", base: formatted(t, early), old: early, bootCode: ourCode},
		{name: "GPT, the disk was enlarged", base: grown, old: gptTable(), bootCode: ourCode},
	}
	for i := range cases {
		cases[i].trial = withinLast(cases[i].old)
		poke(t, cases[i].base, 0, oldCode...)
	}
	return cases
}

// judge says which of the two loaders and tables a disk has.
func (c switchCase) judge(d *blockdevtest.Disk) (loader, table string, backup Copy, err error) {
	code := make([]byte, BootCodeSize)
	if _, err := d.ReadAt(code, 0); err != nil {
		return "", "", 0, err
	}
	got, err := Read(d)
	switch {
	case err != nil:
		return "", "", 0, err
	case got.Scheme == GPT && got.Primary != CopyGood:
		return "", "", 0, fmt.Errorf("the primary copy is %v", got.Primary)
	}
	for name, want := range map[string][]byte{"old": oldCode, "ours": ourCode} {
		if bytes.Equal(code, want) {
			loader = name
		}
	}
	for name, want := range map[string]*Table{"old": c.old, "trial": c.trial} {
		if sameParts(got, want) {
			table = name
		}
	}
	if loader == "" || table == "" || loader == "ours" && table != "trial" {
		return "", "", 0, fmt.Errorf("loader %q with table %q", loader, table)
	}
	return loader, table, got.Backup, nil
}

func (c switchCase) plan(t *testing.T, d *blockdevtest.Disk) *Switch {
	t.Helper()
	s, err := PlanSwitch(d, c.trial, c.bootCode)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCrashInSwitch: a power cut anywhere in the switch, in the switch made
// again after it, and in the way back, leaves a disk that boots by the old
// loader, or by ours with the trial table; what was acknowledged is whole.
func TestCrashInSwitch(t *testing.T) {
	for _, tc := range switchCases(t) {
		loader := "old"
		if tc.bootCode != nil {
			loader = "ours"
		}
		undo := tc.plan(t, tc.base).Undo
		apply := func(d *blockdevtest.Disk) error {
			s, err := PlanSwitch(d, tc.trial, tc.bootCode)
			if err != nil {
				return err
			}
			return s.Apply(d)
		}
		back := func(d *blockdevtest.Disk) error { return WriteSectors(d, undo) }
		switched := tc.base.Clone()
		if err := apply(switched); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		ended := func(c blockdevtest.Crash, loader, table string) error {
			gotLoader, gotTable, backup, err := tc.judge(c.Disk)
			switch {
			case err != nil:
				return err
			case !c.Done:
				return nil
			case gotLoader != loader || gotTable != table || tc.old.Scheme == GPT && backup != CopyGood:
				return fmt.Errorf("acknowledged: loader %q, table %q, backup %v", gotLoader, gotTable, backup)
			case table == "old" && !c.Disk.Same(tc.base):
				return errors.New("the way back ended with other bytes than were there before")
			}
			return nil
		}
		for _, physical := range []int{sector, 4096} {
			test := func(name string, base *blockdevtest.Disk, run, recover func(*blockdevtest.Disk) error, check func(blockdevtest.Crash) error) {
				t.Run(fmt.Sprintf("%s, %s, sectors of %d", tc.name, name, physical), func(t *testing.T) {
					t.Parallel()
					base := base.Clone()
					base.SetPhysicalSector(physical)
					blockdevtest.Campaign{
						Base: base, Run: run, Recover: recover, Check: check,
						Excuse: "one physical sector holds boot code and the only table that GRUB reads",
					}.Test(t)
				})
			}
			toTrial := func(c blockdevtest.Crash) error { return ended(c, loader, "trial") }
			toOld := func(c blockdevtest.Crash) error { return ended(c, "old", "old") }
			test("switch", tc.base, apply, apply, toTrial)
			test("way back", switched, back, back, toOld)
			test("switch, then the way back", tc.base, apply, back, func(c blockdevtest.Crash) error {
				if c.First == nil {
					return toTrial(c)
				}
				return toOld(c)
			})
		}
	}
}

// TestSwitchIsReadByOthers lets the programs that customers have look at the
// trial table and at the disk after the way back.
func TestSwitchIsReadByOthers(t *testing.T) {
	for _, tc := range switchCases(t) {
		if tc.base.Size() != 16*mib {
			continue // they complain of the protective entry, which is not ours to mend
		}
		t.Run(tc.name, func(t *testing.T) {
			img := image(t, tc.base.Size())
			whole := make([]byte, tc.base.Size())
			if _, err := tc.base.ReadAt(whole, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := img.WriteAt(whole, 0); err != nil {
				t.Fatal(err)
			}
			s, err := PlanSwitch(img, tc.trial, tc.bootCode)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Apply(img); err != nil {
				t.Fatal(err)
			}
			got := sfdiskTable(t, img.Path())
			if len(got.Parts) != len(tc.trial.Parts) || got.DiskID != tc.trial.DiskID {
				t.Errorf("sfdisk reads %+v, want %+v", got, tc.trial)
			}
			for i, p := range got.Parts {
				if want := tc.trial.Parts[i]; p.Number != want.Number || p.Start != want.Start || p.Size != want.Size {
					t.Errorf("sfdisk reads partition %+v, want %+v", p, want)
				}
			}
			if err := WriteSectors(img, s.Undo); err != nil {
				t.Fatal(err)
			}
			after := make([]byte, len(whole))
			if _, err := img.ReadAt(after, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(after, whole) {
				t.Error("the way back did not restore every byte")
			}
			if tc.old.Scheme == GPT {
				out := judge(t, "", tool(t, "sgdisk", "gdisk"), "-v", img.Path())
				if !strings.Contains(out, "No problems found") {
					t.Errorf("sgdisk says: %s", out)
				}
			}
		})
	}
}

func TestSwitchRefusals(t *testing.T) {
	lost := formatted(t, gptTable())
	poke(t, lost, sector, make([]byte, sector)...)
	other := gptTable()
	other.DiskID = "5c1b0a4e-21c4-4f5b-9d0e-000000000000"
	twin := withinLast(gptTable())
	twin.Parts[1].PartUUID = twin.Parts[0].PartUUID
	full := gptTable()
	full.Parts[0].Start = 34 * sector
	full.Parts[2].Size = 16*mib - 33*sector - full.Parts[2].Start
	for name, tc := range map[string]struct {
		on, trial *Table
		disk      *blockdevtest.Disk
	}{
		"no primary":          {trial: withinLast(gptTable()), disk: lost},
		"other scheme":        {on: mbrTable(), trial: gptTable()},
		"other disk":          {on: gptTable(), trial: other},
		"same PARTUUID":       {on: gptTable(), trial: twin},
		"no room for entries": {on: full, trial: withinLast(full)},
		"fifth MBR entry":     {on: mbrTable(), trial: withinLast(mbrTable())},
		"no table":            {trial: gptTable(), disk: blockdevtest.New(16*mib, sector)},
	} {
		t.Run(name, func(t *testing.T) {
			d := tc.disk
			if d == nil {
				d = formatted(t, tc.on).Clone()
			}
			if s, err := PlanSwitch(d, tc.trial, ourCode); !errors.Is(err, ErrTable) {
				t.Errorf("PlanSwitch = %+v, %v", s, err)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	for _, table := range []*Table{mbrTable(), gptTable()} {
		if a, b, yes := table.Overlap(); yes {
			t.Errorf("%+v and %+v overlap", a, b)
		}
	}
	trial := withinLast(gptTable())
	a, b, yes := trial.Overlap()
	if !yes || a.Number != 5 || b.Number != 4 {
		t.Errorf("Overlap = %d, %d, %v", a.Number, b.Number, yes)
	}
	if err := Write(formatted(t, gptTable()), trial); !errors.Is(err, ErrTable) {
		t.Errorf("Write of overlapping partitions: %v", err)
	}
}
