package migrate

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/test/olddisk"
)

func surveyImage(t *testing.T, d olddisk.Disk) *Survey {
	t.Helper()
	s, err := SurveyImage(d.Make(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSurveyImage(t *testing.T) {
	for name, want := range map[Layout]struct {
		root, boot string
		firmware   Firmware
		core       int64
	}{
		L1: {"centos/root", "partition 1", BIOS, 63},
		L2: {"partition 3", "partition 1", BIOS, 63},
		L3: {"partition 1", "", BIOS, 63},
		L4: {"centos/root", "partition 2", UEFI, 0},
		L5: {"partition 4", "partition 3", BIOS, 2110},
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			s := surveyImage(t, olddisk.Layouts[string(name)])
			root, boot := s.Root(), s.mounted("/boot")
			if root == nil || root.Name != want.root || root.Guess == "" || root.Content.Free < root.Size/2 || root.Content.MaxRun == 0 {
				t.Errorf("root %+v", root)
			}
			if boot != nil && boot.Name != want.boot || boot == nil && want.boot != "" {
				t.Errorf("/boot %+v", boot)
			}
			if s.Machine.Firmware != want.firmware || s.Disk.Loader.CoreEnd != want.core*512 || len(s.Unseen) == 0 {
				t.Errorf("%+v, %+v, %q", s.Machine, s.Disk.Loader, s.Unseen)
			}
			for _, tier := range []Tier{"", Carve, Gather} {
				p := NewPlan(s, Options{SlotSize: gib, Tier: tier})
				checkPlan(t, s, p)
				if p.Err() != nil || p.Layout != name {
					t.Errorf("tier %q: %s, %v", tier, p.Layout, p.Err())
				}
			}
		})
	}
}

// TestSurveyLogicalVolumes: content is found through the map, and what no
// volume uses is free.
func TestSurveyLogicalVolumes(t *testing.T) {
	s := surveyImage(t, olddisk.Layouts["L1"])
	swap := s.Volumes[2]
	if swap.Name != "centos/swap" || swap.Content.Kind != KindSwap || swap.Size != 2*gib || swap.Start() != 1025*mib {
		t.Errorf("%+v", swap)
	}
	g := s.group("centos")
	if g == nil || len(g.Free) != 1 || g.Free[0].Len != 1020*mib || len(g.Missing) != 0 {
		t.Errorf("%+v", g)
	}
}

// LVM on a mirror whose metadata are at the end of its members.
var lvmOnRAID = olddisk.Disk{
	Size: 1025, Table: "label: dos\nstart=2048,type=fd\n",
	Parts: []olddisk.Part{{At: 1, Make: "lvm orphan-0"}, {At: 1, Make: "zero", Bytes: "\xfc\x4e\x2b\xa9", Offset: 1<<30 - 8192}},
}

// TestImageRefusals are those that can be seen on a disk image.
func TestImageRefusals(t *testing.T) {
	one := func(size int64, table string, p olddisk.Part) olddisk.Disk {
		return olddisk.Disk{Size: size, Table: table, Parts: []olddisk.Part{p}}
	}
	const mbr = "label: dos\nstart=2048,type=83\n"
	for name, tc := range map[string]struct {
		disk olddisk.Disk
		code string
	}{
		"striped":    {one(1025, "label: dos\nstart=2048,type=8e\n", olddisk.Part{At: 1, Make: "lvm striped-0"}), "lv-type"},
		"thin":       {one(1025, "label: dos\nstart=2048,type=8e\n", olddisk.Part{At: 1, Make: "lvm hidden-0"}), "lv-type"},
		"missing PV": {one(1025, "label: dos\nstart=2048,type=8e\n", olddisk.Part{At: 1, Make: "lvm striped-1"}), "missing-pv"},
		"orphan PV":  {one(1025, "label: dos\nstart=2048,type=8e\n", olddisk.Part{At: 1, Make: "lvm orphan-0"}), "unknown"},
		"PV twice": {olddisk.Disk{
			Size: 2049, Table: "label: dos\nstart=2048,size=1GiB,type=8e\nsize=1GiB,type=8e\n",
			Parts: []olddisk.Part{{At: 1, Make: "lvm pieces-0"}, {At: 1025, Make: "lvm pieces-0"}},
		}, "volume"},
		"whole PV":    {olddisk.Disk{Size: 1024, Parts: []olddisk.Part{{Make: "lvm el7-0"}}}, "no-table"},
		"LUKS":        {one(64, mbr, olddisk.Part{At: 1, Make: "zero", Bytes: "LUKS\xba\xbe"}), "luks"},
		"mdraid 1.2":  {one(64, mbr, olddisk.Part{At: 1, Make: "zero", Bytes: "\xfc\x4e\x2b\xa9", Offset: 4096}), "mdraid"},
		"mdraid 1.0":  {one(64, mbr, olddisk.Part{At: 1, Make: "zero", Bytes: "\xfc\x4e\x2b\xa9", Offset: 63<<20 - 8192}), "mdraid"},
		"mdraid 0.9":  {one(64, mbr, olddisk.Part{At: 1, Make: "zero", Bytes: "\xfc\x4e\x2b\xa9", Offset: 63<<20 - 65536}), "mdraid"},
		"LVM on RAID": {lvmOnRAID, "mdraid"},
		"btrfs":       {one(64, mbr, olddisk.Part{At: 1, Make: "zero", Bytes: "_BHRfS_M", Offset: 65600}), "btrfs"},
		"unknown":     {one(64, mbr, olddisk.Part{At: 1, Make: "zero", Bytes: "ReFS", Offset: 3}), "unknown"},
		"empty part":  {one(64, mbr, olddisk.Part{At: 1, Make: "zero"}), "no-system"},
		"ext3":        {one(512, mbr, olddisk.Part{At: 1, Size: 511, Make: "mkfs.ext3 -M /"}), "filesystem"},
		"extended": {olddisk.Disk{
			Size: 2048, Table: "label: dos\nstart=2048,size=1GiB,type=83\ntype=5\n",
			Parts: []olddisk.Part{{At: 1, Size: 1024, Make: "mkfs.ext4"}},
		}, "extended"},
		"file system": {olddisk.Disk{Size: 64, Parts: []olddisk.Part{{Size: 64, Make: "mkfs.ext4"}}}, "no-table"},
		"too small":   {one(600, mbr, olddisk.Part{At: 1, Size: 599, Make: "mkfs.ext4 -b 4096 -M /"}), "no-room"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := surveyImage(t, tc.disk)
			p := NewPlan(s, Options{SlotSize: 64 * mib})
			checkPlan(t, s, p)
			if !slices.ContainsFunc(p.Refusals, func(r Refusal) bool { return r.Code == tc.code }) {
				t.Errorf("no %s in %+v", tc.code, p.Refusals)
			}
			if name == "missing PV" && len(s.Groups[0].Missing) != 1 {
				t.Errorf("%+v", s.Groups)
			}
		})
	}
}

// TestGuessedRoots: without a mount there is only what the disk says.
func TestGuessedRoots(t *testing.T) {
	s := surveyL1()
	for i := range s.Volumes {
		s.Volumes[i].Mount = ""
	}
	guess := func(change func(s *Survey)) (root string) {
		c := *s
		c.Volumes = slices.Clone(s.Volumes)
		change(&c)
		c.guessMounts()
		if r := c.Root(); r != nil {
			return r.Name
		}
		return ""
	}
	for name, tc := range map[string]struct {
		change func(s *Survey)
		root   string
	}{
		"by name":        {func(*Survey) {}, "centos/root"},
		"mounted last":   {func(s *Survey) { s.Volumes[3].Content.LastMounted = "/sysroot" }, "centos/home"},
		"by label":       {func(s *Survey) { s.Volumes[4].Name = "centos/x"; s.Volumes[0].Content.Label = "/root" }, "partition 1"},
		"by its size":    {func(s *Survey) { s.Volumes[4].Name = "centos/x" }, "centos/x"},
		"named twice":    {func(s *Survey) { s.Volumes[3].Name = "centos/root" }, "centos/root"},
		"no file system": {func(s *Survey) { s.Volumes = s.Volumes[1:3] }, ""},
	} {
		if got := guess(tc.change); got != tc.root {
			t.Errorf("%s: %q, want %q", name, got, tc.root)
		}
	}
}

// TestHostileDisk: whatever bytes stand where structures should, there is a
// plan or a reason, and no panic.
func TestHostileDisk(t *testing.T) {
	path := olddisk.Layouts["L1"].Make(t)
	img, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	const lvm = 1024 * mib
	places := []struct{ at, size int64 }{
		{0, 512},
		{512, 512},
		{lvm + 512, 512},
		{lvm + 4096, 128},
		{lvm + 4096 + 512, 8192},
		{mib, 512},
		{lvm + mib + 2048*4*mib, 512},
		{lvm + mib + 512*4*mib, 512},
	}
	for range 300 {
		place := places[rng.IntN(len(places))]
		was := make([]byte, place.size)
		if _, err := img.ReadAt(was, place.at); err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(was)
		for range 1 + rng.IntN(8) {
			bad[rng.IntN(len(bad))] = byte(rng.Uint32())
		}
		if _, err := img.WriteAt(bad, place.at); err != nil {
			t.Fatal(err)
		}
		s, err := SurveyImage(path)
		if err != nil {
			t.Fatalf("bytes at %d: %v", place.at, err)
		}
		checkPlan(t, s, NewPlan(s, Options{SlotSize: gib}))
		if _, err := img.WriteAt(was, place.at); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzProbe: superblocks are foreign data.
func FuzzProbe(f *testing.F) {
	ext := make([]byte, 2048)
	copy(ext[1024+0x38:], "\x53\xEF")
	f.Add(ext)
	f.Add([]byte("XFSB\x00\x00\x10\x00"))
	f.Add(append(make([]byte, 82), "FAT32   "...))
	f.Fuzz(func(t *testing.T, head []byte) {
		disk := make([]byte, 128<<10)
		copy(disk, head)
		c, err := probe(bytes.NewReader(disk), int64(len(disk)))
		if err != nil || c.Kind == 0 {
			t.Fatalf("%+v, %v", c, err)
		}
		if c.Kind == KindFilesystem && c.Format != "btrfs" && (c.Size < 0 || c.Free < 0 || c.Free > c.Size || c.MaxRun < 0 || c.MaxRun > c.Size) {
			t.Errorf("%+v", c)
		}
	})
}
