package migrate

import (
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/partition"
)

// TestRefusals: every reason, by what is changed on a machine that could be
// migrated.
func TestRefusals(t *testing.T) {
	obstacle := func(k ObstacleKind) func(*Survey, *Options) {
		return func(s *Survey, _ *Options) { *s = Survey{Live: true, Obstacles: []Obstacle{{k, "dm-0"}}} }
	}
	content := func(i int, c Content) func(*Survey, *Options) {
		return func(s *Survey, _ *Options) { s.Volumes[i].Content = c }
	}
	lv := func(kind string) func(*Survey, *Options) {
		return func(s *Survey, _ *Options) { s.Volumes[3].Map, s.Volumes[3].Problem = nil, kind }
	}
	const g = gib
	for name, tc := range map[string]struct {
		change func(s *Survey, o *Options)
		code   string
		says   string
	}{
		"A/B device":       {func(s *Survey, _ *Options) { s.AB = "it was booted as system a" }, "already-ab", "already"},
		"encrypted root":   {obstacle(ObstacleCrypt), "luks", "encrypted"},
		"RAID root":        {obstacle(ObstacleRAID), "mdraid", "software RAID"},
		"multipath root":   {obstacle(ObstacleMultipath), "multipath", "multipath"},
		"other mapper":     {obstacle(ObstacleMapper), "device-mapper", "not LVM"},
		"two disks":        {obstacle(ObstacleDisks), "disks", "more than one disk"},
		"no disk":          {obstacle(ObstacleNoDisk), "no-disk", "on no disk"},
		"whole disk":       {obstacle(ObstacleWhole), "no-table", "without a partition table"},
		"4Kn":              {func(s *Survey, _ *Options) { s.Disk.Sector = 4096 }, "4kn", "4096"},
		"empty disk":       {func(s *Survey, _ *Options) { s.Disk.Table, s.Disk.Whole.Kind = nil, KindEmpty }, "no-system", "is empty"},
		"file system only": {func(s *Survey, _ *Options) { s.Disk.Table, s.Disk.Whole = nil, fsys("ext4", "", g, 0) }, "no-table", "ext4 without"},
		"torn table": {func(s *Survey, _ *Options) {
			s.Disk.Table, s.Disk.TableError, s.Disk.Whole.Kind = nil, "GPT: torn", KindUnknown
		}, "bad-table", "torn"},
		"empty table":     {func(s *Survey, _ *Options) { s.Volumes = nil }, "no-system", "table of /dev/sda is empty"},
		"no root":         {func(s *Survey, _ *Options) { s.Volumes = s.Volumes[2:3] }, "no-system", "no root file system"},
		"btrfs root":      {content(4, Content{Kind: KindFilesystem, Format: "btrfs", Free: -1}), "btrfs", "btrfs"},
		"ext3 root":       {content(4, fsys("ext3", "", 11*g, 9*g)), "filesystem", "ext3"},
		"read-only root":  {func(s *Survey, _ *Options) { s.Root().ReadOnly = true }, "read-only", "read-only"},
		"Secure Boot":     {func(s *Survey, _ *Options) { s.Machine.SecureBoot = true }, "secure-boot", "Secure Boot"},
		"UEFI with MBR":   {func(s *Survey, _ *Options) { s.Machine.Firmware = UEFI }, "uefi-mbr", "MBR"},
		"thin":            {lv("thin"), "lv-type", "thin"},
		"striped":         {lv("striped"), "lv-type", "striped"},
		"raid":            {lv("raid1"), "lv-type", "RAID"},
		"cache":           {lv("cache"), "lv-type", "cache"},
		"missing PV":      {func(s *Survey, _ *Options) { s.Groups[0].Missing = []string{"UUID-1"} }, "missing-pv", "UUID-1"},
		"shared group":    {func(s *Survey, _ *Options) { s.Groups[0].Shared = true }, "shared-group", "several machines"},
		"exported group":  {func(s *Survey, _ *Options) { s.Groups[0].Status = append(s.Groups[0].Status, "EXPORTED") }, "group-status", "EXPORTED"},
		"clustered group": {func(s *Survey, _ *Options) { s.Groups[0].Status = []string{"CLUSTERED"} }, "shared-group", "several"},
		"damaged LVM":     {func(s *Survey, _ *Options) { s.Volumes[1].Problem = "wrong checksum" }, "volume", "wrong checksum"},
		"extended":        {content(0, Content{Kind: KindExtended}), "extended", "extended partition"},
		"LUKS partition":  {content(0, Content{Kind: KindLUKS}), "luks", "encrypted"},
		"RAID member":     {content(0, Content{Kind: KindRAID}), "mdraid", "software RAID"},
		"unknown":         {content(2, Content{Kind: KindUnknown}), "unknown", "not recognised"},
		"not mounted":     {func(s *Survey, _ *Options) { s.Volumes[3].Mount = "" }, "not-mounted", "not mounted"},
		"slot size odd":   {func(_ *Survey, o *Options) { o.SlotSize = g + 1 }, "slot-size", "slot size"},
		"slot size tiny":  {func(_ *Survey, o *Options) { o.SlotSize = mib }, "slot-size", "slot size"},
		"image too large": {func(_ *Survey, o *Options) { o.SlotSize, o.Bundle.ImageSize = g, 2*g }, "slot-size", "would have"},
		"no boot loader":  {func(_ *Survey, o *Options) { o.Bundle.Boot = false }, "no-boot-image", "no boot loader"},
		"CPU too old":     {func(_ *Survey, o *Options) { o.Bundle.CPULevel = 3 }, "cpu-level", "v3"},
		"carve, no room":  {func(s *Survey, o *Options) { o.Tier, s.Root().Content.Free = Carve, g }, "no-room", "has 768 MiB to give"},
		"carve, no run":   {func(s *Survey, o *Options) { o.Tier, s.Root().Content.MaxRun = Carve, g }, "no-run", "contiguous"},
		"gather, no room": {func(s *Survey, o *Options) { o.Tier, s.Root().Content.Free = Gather, 600*mib }, "no-room", "gather"},
		"neither":         {func(s *Survey, _ *Options) { s.Root().Content.Free = 300 * mib }, "no-room", "gather"},
		"free not known":  {func(s *Survey, _ *Options) { s.Root().Content.Free = -1 }, "no-room", "not known"},
		"no room for b":   {func(_ *Survey, o *Options) { o.SlotSize, o.Tier = 8*g, Carve }, "no-room", "slot b"},
		"data, no room": {func(s *Survey, _ *Options) {
			s.Trees = append(s.Trees, Tree{Path: "/srv", Volume: "centos/root", Bytes: 5 * g})
		}, "no-room-data", "/srv"},
		"data, gather": {func(s *Survey, o *Options) {
			o.Tier, s.Trees = Gather, []Tree{{Path: "/srv", Volume: "centos/root", Bytes: g}}
		}, "gather-data", "/srv"},
		"four entries used": {fourEntries, "mbr-entries", "four entries"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := surveyL1(), Options{Bundle: &Bundle{Product: "gw", Version: "2.0.0", ImageSize: gib, Compressed: 400 * mib, CPULevel: 2, Boot: true}}
			tc.change(s, &o)
			p := NewPlan(s, o)
			checkPlan(t, s, p)
			found := slices.ContainsFunc(p.Refusals, func(r Refusal) bool { return r.Code == tc.code && strings.Contains(r.Reason, tc.says) })
			if !found {
				t.Errorf("no refusal %s with %q in %+v", tc.code, tc.says, p.Refusals)
			}
		})
	}
}

func fourEntries(s *Survey, _ *Options) {
	s.Disk.Table.Parts[1].Size -= 2 * gib
	for n := 3; n <= 4; n++ {
		at := s.Disk.Size - int64(n-2)*gib
		s.Disk.Table.Parts = append(s.Disk.Table.Parts, partition.Part{Number: n, Start: at, Size: gib, Type: "83"})
		s.Volumes = append(s.Volumes, volume(n, at, gib, fsys("xfs", "", gib, gib), "/srv"))
	}
}

// TestRefusalsOfGPT are those that an MBR disk cannot have.
func TestRefusalsOfGPT(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(s *Survey)
		code   string
	}{
		"primary broken": {func(s *Survey) { s.Disk.Table.Primary = partition.CopyBroken }, "gpt-primary"},
		"no ESP": {func(s *Survey) {
			s.Disk.Table.Parts[0].Type = partition.TypeLinux
			s.Volumes[0].Content = Content{Kind: KindEmpty}
		}, "no-esp"},
		"ESP full": {func(s *Survey) { s.Volumes[0].Content.Free = mib }, "esp-full"},
		"no room for entries": {func(s *Survey) {
			s.Disk.Table.Parts[0].Start, s.Disk.Table.Parts[0].Size = 34*512, 200*mib-34*512
			s.Disk.Table.Parts[2].Size = s.Disk.Size - 33*512 - gib
		}, "gpt-entries"},
	} {
		s := surveyL4()
		tc.change(s)
		p := NewPlan(s, Options{Tier: Carve})
		checkPlan(t, s, p)
		if !slices.ContainsFunc(p.Refusals, func(r Refusal) bool { return r.Code == tc.code }) {
			t.Errorf("%s: %+v", name, p.Refusals)
		}
	}
}

// TestAllReasonsAtOnce: who repairs one thing after the other has lost a day.
func TestAllReasonsAtOnce(t *testing.T) {
	s := surveyL1()
	s.Groups[0].Missing = []string{"UUID-1"}
	s.Volumes[0].Content = Content{Kind: KindLUKS}
	s.Machine.SecureBoot = true
	s.Root().Content.Free = 0
	p := NewPlan(s, Options{Bundle: &Bundle{ImageSize: gib, CPULevel: 4}})
	for _, code := range []string{"missing-pv", "luks", "secure-boot", "cpu-level", "no-boot-image", "no-room"} {
		if !slices.ContainsFunc(p.Refusals, func(r Refusal) bool { return r.Code == code }) {
			t.Errorf("%s is not among %+v", code, p.Refusals)
		}
	}
	if p.Err() == nil || len(p.Now) == 0 {
		t.Errorf("Err %v, drawing %v", p.Err(), p.Now)
	}
}
