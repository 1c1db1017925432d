package migrate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/partition"
)

func fsys(format, mountedAt string, size, free int64) Content {
	run := size
	if format == "ext4" {
		run = min(size, 1920*mib)
	}
	return Content{Kind: KindFilesystem, Format: format, Size: size, Free: free, MaxRun: run, LastMounted: mountedAt}
}

func volume(part int, start, size int64, c Content, mount string) Volume {
	return Volume{
		Name: fmt.Sprintf("partition %d", part), Part: part, Size: size,
		Map: partition.DeviceMap{{Disk: start, Len: size}}, Content: c, Mount: mount,
	}
}

func logical(name string, start, size int64, c Content, mount string) Volume {
	v := volume(2, start, size, c, mount)
	v.Name, v.Group = name, "centos"
	return v
}

// surveyL1 is a running machine with the default disk of EL7.
func surveyL1() *Survey {
	const g = gib
	return &Survey{
		Live:    true,
		Machine: Machine{Firmware: BIOS, CPULevel: 2, RAM: 2 * g, OS: "CentOS Linux 7 (Core)", Kernel: "3.10.0"},
		Disk: Disk{
			Name: "/dev/sda", Size: 20 * g, Sector: 512, Loader: Loader{GRUB: true, CoreStart: 512, CoreEnd: 63 * 512},
			Table: &partition.Table{Scheme: partition.MBR, DiskID: "000c0001", Parts: []partition.Part{
				{Number: 1, Start: 1 * mib, Size: 1023 * mib, Type: "83"},
				{Number: 2, Start: 1 * g, Size: 19 * g, Type: "8e"},
			}},
		},
		Groups: []Group{{Name: "centos", Status: []string{"RESIZEABLE", "READ", "WRITE"}, Members: []string{"PV-1"}}},
		Volumes: []Volume{
			volume(1, mib, 1023*mib, fsys("xfs", "", 1013*mib, 800*mib), "/boot"),
			volume(2, g, 19*g, Content{Kind: KindLVM, Format: "LVM2", UUID: "PV-1"}, ""),
			logical("centos/swap", 1*g, 2*g, Content{Kind: KindSwap, Format: "swap"}, ""),
			logical("centos/home", 3*g, 6*g, fsys("xfs", "", 6*g, 4*g), "/home"),
			logical("centos/root", 9*g, 11*g, fsys("xfs", "", 11*g, 9*g), "/"),
		},
		Trees: []Tree{{Path: "/home", Volume: "centos/home", Bytes: 2 * g, Files: 1000, Root: true}},
	}
}

// surveyL2 has no LVM and no free entry in its MBR.
func surveyL2() *Survey {
	s := surveyL1()
	const g = gib
	s.Groups, s.Trees = nil, nil
	s.Disk.Table.Parts = []partition.Part{
		{Number: 1, Start: 1 * mib, Size: 1023 * mib, Type: "83"},
		{Number: 2, Start: 1 * g, Size: 2 * g, Type: "82"},
		{Number: 3, Start: 3 * g, Size: 17 * g, Type: "83"},
	}
	s.Volumes = []Volume{
		volume(1, mib, 1023*mib, fsys("ext4", "", 990*mib, 800*mib), "/boot"),
		volume(2, g, 2*g, Content{Kind: KindSwap, Format: "swap"}, ""),
		volume(3, 3*g, 17*g, fsys("ext4", "", 16*g, 12*g), "/"),
	}
	return s
}

// surveyL4 boots by UEFI.
func surveyL4() *Survey {
	s := surveyL1()
	s.Machine.Firmware = UEFI
	s.Disk.Loader = Loader{VendorDirs: []string{"BOOT", "centos"}}
	t := s.Disk.Table
	t.Scheme, t.Primary, t.Backup = partition.GPT, partition.CopyGood, partition.CopyGood
	t.Parts = []partition.Part{
		{Number: 1, Start: 1 * mib, Size: 199 * mib, Type: partition.TypeESP},
		{Number: 3, Start: 200 * mib, Size: 824 * mib, Type: partition.TypeLinux},
		{Number: 2, Start: 1 * gib, Size: 19*gib - mib, Type: "e6d6d379-f507-44c2-a23c-238f2a3df928"},
	}
	s.Volumes[0] = volume(3, 200*mib, 824*mib, fsys("xfs", "", 820*mib, 700*mib), "/boot")
	s.Volumes[1].Size -= mib
	root := &s.Volumes[4]
	root.Size, root.Map[0].Len = root.Size-4*mib, root.Size-4*mib
	esp := volume(1, mib, 199*mib, Content{Kind: KindFAT, Format: "vfat", Size: 199 * mib, Free: 180 * mib}, "/boot/efi")
	s.Volumes = append([]Volume{esp}, s.Volumes...)
	return s
}

// checkPlan holds a plan against what every plan promises.
func checkPlan(t *testing.T, s *Survey, p *Plan) {
	t.Helper()
	if len(p.Refusals) > 0 {
		if p.Trial != nil || p.End != nil || p.Tier != "" || !errors.Is(p.Err(), ErrRefused) {
			t.Errorf("a refused plan with a tier or a drawing: %+v", p)
		}
		return
	}
	if p.Err() != nil {
		t.Errorf("Err: %v", p.Err())
	}
	names, numbers, end := map[string]Entry{}, map[int]string{}, int64(0)
	for _, e := range p.End {
		if e.Start < end || e.Size <= 0 || e.Start+e.Size > s.Disk.Size {
			t.Errorf("at the end: %+v begins before %d or ends behind the disk", e, end)
		}
		end = e.Start + e.Size
		if e.Name == "free" {
			continue
		}
		names[e.Name] = e
		if numbers[e.Number] != "" || e.Number < 1 || s.Disk.Table.Scheme == partition.MBR && e.Number > 4 {
			t.Errorf("at the end: number %d of %s is taken by %q, or none", e.Number, e.Name, numbers[e.Number])
		}
		numbers[e.Number] = e.Name
	}
	for _, name := range []string{"abboot", "slot a", "slot b", "data"} {
		if names[name].Size == 0 {
			t.Errorf("at the end there is no %s: %+v", name, p.End)
		}
	}
	if names["slot a"].Size != p.SlotSize || names["slot b"].Size != p.SlotSize || names["abboot"].Size != abbootSize {
		t.Errorf("at the end: %+v", p.End)
	}
	for _, part := range s.Disk.Table.Parts {
		if s.keptPart(part) && numbers[part.Number] == "" {
			t.Errorf("partition %d should have been kept", part.Number)
		}
	}
	checkTrial(t, s, p, names)
	for _, tree := range p.Data.Trees {
		if tree.Fate == FateRefused || tree.Detail == "" {
			t.Errorf("a plan with %+v", tree)
		}
	}
}

// checkTrial: in a carve's trial the old entries are all there, and the new
// ones have the numbers and places that they keep.
func checkTrial(t *testing.T, s *Survey, p *Plan, end map[string]Entry) {
	t.Helper()
	trial := map[string]Entry{}
	numbers := map[int]bool{}
	for _, e := range p.Trial {
		trial[e.Name] = e
		if e.Number != 0 && numbers[e.Number] {
			t.Errorf("in trial: number %d twice", e.Number)
		}
		numbers[e.Number] = true
	}
	for _, name := range []string{"abboot", "slot a"} {
		if a, b := trial[name], end[name]; a.Number != b.Number || a.Start != b.Start || a.Size != b.Size {
			t.Errorf("%s is %+v in trial and %+v at the end", name, a, b)
		}
	}
	if p.Tier == Gather {
		for _, tree := range p.Data.Trees {
			if tree.Fate == FateCarried && p.Data.Mode != DataInPlace {
				t.Errorf("%s is to be carried, and there is nowhere to", tree.Path)
			}
		}
		return
	}
	for _, part := range s.Disk.Table.Parts {
		if !numbers[part.Number] {
			t.Errorf("in trial: partition %d is gone", part.Number)
		}
	}
	for _, e := range []Entry{trial["abboot"], trial["slot a"]} {
		for _, v := range s.Volumes {
			at := v.Start()
			if v.Content.Kind == KindFilesystem && v.Mount != "/" && e.Start < at+v.Size && at < e.Start+e.Size {
				t.Errorf("%s lies in %s", e.Name, v.Name)
			}
		}
	}
}

func TestPlanCarve(t *testing.T) {
	for name, tc := range map[string]struct {
		s      *Survey
		layout Layout
		mode   DataMode
	}{
		"L1": {surveyL1(), L1, DataInPlace},
		"L2": {surveyL2(), L2, DataNew},
		"L4": {surveyL4(), L4, DataInPlace},
	} {
		p := NewPlan(tc.s, Options{})
		checkPlan(t, tc.s, p)
		if p.Layout != tc.layout || p.Tier != Carve || p.Data == nil || p.Data.Mode != tc.mode || p.SlotSize != DefaultSlotSize {
			t.Errorf("%s: %s, %s, %+v, %v", name, p.Layout, p.Tier, p.Data, p.Refusals)
		}
	}
}

// TestPlanBorrowsSwap: two old entries may stay, swap's is used, and no grub
// number changes later.
func TestPlanBorrowsSwap(t *testing.T) {
	s := surveyL2()
	p := NewPlan(s, Options{})
	checkPlan(t, s, p)
	if p.Switch == nil || p.Switch.Borrowed != 2 || !slices.ContainsFunc(p.Notes, func(n string) bool { return strings.Contains(n, "90 seconds") }) {
		t.Errorf("%+v, %q", p.Switch, p.Notes)
	}
}

// TestPlanOfEverySize: whatever the sizes, a plan keeps its promises, and
// planning twice gives the same.
func TestPlanOfEverySize(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	plans := map[Tier]int{}
	for range 3000 {
		s := [](func() *Survey){surveyL1, surveyL2, surveyL4}[rng.IntN(3)]()
		for i := range s.Volumes {
			c := &s.Volumes[i].Content
			c.Free = rng.Int64N(c.Size + 1)
		}
		if rng.IntN(2) == 0 {
			s.Trees = append(s.Trees, Tree{Path: "/srv", Volume: s.Root().Name, Bytes: rng.Int64N(3 * gib), Files: 5})
		}
		if root := s.Root(); rng.IntN(3) == 0 { // in two pieces, the second before the first
			cut := (1 + rng.Int64N(root.Size/mib-1)) * mib
			at := root.Start()
			root.Map = partition.DeviceMap{{Disk: at + root.Size - cut, Len: cut}, {Start: cut, Disk: at, Len: root.Size - cut}}
		}
		if rng.IntN(3) == 0 {
			s.Disk.Size += rng.Int64N(8) * gib
		}
		o := Options{SlotSize: (16 + rng.Int64N(9000)) * mib, Tier: []Tier{"", Carve, Gather}[rng.IntN(3)]}
		p := NewPlan(s, o)
		checkPlan(t, s, p)
		plans[p.Tier]++
		if t.Failed() {
			t.Fatalf("%+v\n%+v", s, p)
		}
	}
	if plans[Carve] < 300 || plans[Gather] < 300 || plans[""] < 300 {
		t.Errorf("plans: %v", plans)
	}
}

func TestPlanCopiesData(t *testing.T) {
	s := surveyL2()
	s.Disk.Size += 10 * gib
	s.Trees = []Tree{{Path: "/srv", Volume: "partition 3", Bytes: 2 * gib, Files: 9}, {Path: "/var/log", Volume: "partition 3", Bytes: gib, Files: 9, Drop: "built-in: logs"}}
	p := NewPlan(s, Options{})
	checkPlan(t, s, p)
	if p.Data == nil || p.Data.Mode != DataCopy || p.Data.Trees[0].Fate != FateCarried || p.Data.Trees[1].Fate != FateDropped || p.Data.Size < 2*gib {
		t.Errorf("%+v, %v", p.Data, p.Refusals)
	}
	// Beside a file system that stays, what is elsewhere is copied into it.
	s = surveyL1()
	s.Trees = append(s.Trees, Tree{Path: "/srv", Volume: "centos/root", Bytes: gib, Files: 9})
	p = NewPlan(s, Options{})
	checkPlan(t, s, p)
	if p.Data == nil || p.Data.Mode != DataInPlace || !strings.Contains(p.Data.Trees[1].Detail, "copied into") {
		t.Errorf("%+v, %v", p.Data, p.Refusals)
	}
}
