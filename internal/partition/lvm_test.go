package partition

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew (with -tags root: the LVM fixtures too)")

// lvmFixtureSize is how much of a physical volume a fixture has: LVM's
// metadata come before the first MiB ends.
const lvmFixtureSize = 1 << 20

// fixture returns a physical volume of testdata/lvm (see lvmFixtures).
func fixture(t testing.TB, name string, size int64) *blockdevtest.Disk {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "lvm", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	head, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	d := blockdevtest.New(size, sector)
	poke(t, d, 0, head...)
	return d
}

// describe prints a physical volume for people and golden files.
func describe(pv *PhysicalVolume) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pv %s %d\n", pv.UUID, pv.Size)
	g := pv.Group
	if g == nil {
		return b.String()
	}
	fmt.Fprintf(&b, "vg %s %s seqno %d extents of %d %q\n", g.Name, g.UUID, g.Seqno, g.ExtentSize, g.Status)
	for _, m := range g.Members {
		fmt.Fprintf(&b, "  %s %s %d extents from %d missing=%v\n", m.Name, m.UUID, m.Extents, m.Start, m.Missing)
	}
	for _, v := range g.Volumes {
		fmt.Fprintf(&b, "  lv %s %s visible=%v\n", v.Name, v.UUID, v.Visible)
		for _, s := range v.Segments {
			fmt.Fprintf(&b, "    [%d, %d) %s %s %d\n", s.Start, s.Start+s.Extents, s.Type, s.Member, s.First)
		}
	}
	return b.String()
}

func TestReadPV(t *testing.T) {
	files, err := filepath.Glob("testdata/lvm/*.gz")
	if err != nil || len(files) < 5 {
		t.Fatalf("fixtures: %q, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".gz")
		t.Run(name, func(t *testing.T) {
			pv, err := ReadPV(fixture(t, name, 1<<30))
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "lvm", name+".txt")
			got := describe(pv)
			if *updateGolden {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// reseal makes the sums of label, header and text right again.
func reseal(t testing.TB, d *blockdevtest.Disk) {
	t.Helper()
	label := make([]byte, sector)
	read := func(b []byte, at int64) {
		if _, err := d.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	read(label, sector)
	le.PutUint32(label[labelSumAt:], lvmCRC(lvmCRCInitial, label[labelSumFrom:]))
	poke(t, d, sector, label...)
	header := make([]byte, areaHeaderSize)
	read(header, 4096)
	loc := header[areaLocations:]
	if off, length, size := le.Uint64(loc), le.Uint64(loc[8:]), le.Uint64(header[32:]); off < size && length <= size-off && size < uint64(d.Size()) {
		text := make([]byte, length)
		read(text, 4096+int64(off))
		le.PutUint32(loc[16:], lvmCRC(lvmCRCInitial, text))
	}
	le.PutUint32(header, lvmCRC(lvmCRCInitial, header[areaSumFrom:]))
	poke(t, d, 4096, header...)
}

func TestReadPVDamage(t *testing.T) {
	put32 := func(v uint32) []byte { return le.AppendUint32(nil, v) }
	put64 := func(v uint64) []byte { return le.AppendUint64(nil, v) }
	for name, tc := range map[string]struct {
		at   int64
		with []byte
		seal bool
		want error
	}{
		"no label":              {sector, []byte("UNLABELE"), true, ErrNotPV},
		"label, sum":            {sector + 100, []byte{1}, false, ErrLVM},
		"label, sector":         {sector + 8, put64(2), true, ErrLVM},
		"label, type":           {sector + 24, []byte("LVM1 001"), true, ErrLVM},
		"label, content":        {sector + 20, put32(510), true, ErrLVM},
		"label, content 0":      {sector + 20, put32(0), true, ErrLVM},
		"PV, UUID":              {sector + 32, []byte("../../etc"), true, ErrLVM},
		"PV, size":              {sector + 64, put64(1 << 63), true, ErrLVM},
		"PV, endless areas":     {sector + 72, bytes.Repeat([]byte{1}, 408), true, ErrLVM},
		"PV, area elsewhere":    {sector + 72 + 32, put64(1 << 40), true, ErrLVM},
		"area, sum":             {4096 + 100, []byte{1}, false, ErrLVM},
		"area, signature":       {4096 + 4, []byte("LVM"), true, ErrLVM},
		"area, version":         {4096 + 20, put32(2), true, ErrLVM},
		"area, start":           {4096 + 24, put64(8192), true, ErrLVM},
		"area, size":            {4096 + 32, put64(1 << 41), true, ErrLVM},
		"area, size 0":          {4096 + 32, put64(0), true, ErrLVM},
		"text, offset":          {4096 + 40, put64(1 << 20), true, ErrLVM},
		"text, in the header":   {4096 + 40, put64(16), true, ErrLVM},
		"text, length":          {4096 + 48, put64(1 << 50), true, ErrLVM},
		"text, length 0":        {4096 + 48, put64(0), true, ErrLVM},
		"text, sum":             {4096 + 56, []byte{1, 2, 3, 4}, false, ErrLVM},
		"text, none":            {4096 + 40, put64(0), true, nil},
		"text, in no use":       {4096 + 60, put32(textIgnored), true, nil},
		"a sector nobody needs": {9 << 20, []byte{1}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := fixture(t, "el7-0", 1<<30)
			poke(t, d, tc.at, tc.with...)
			if tc.seal {
				reseal(t, d)
			}
			if _, err := ReadPV(d); !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Errorf("ReadPV: %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := ReadPV(blockdevtest.New(1024, sector)); !errors.Is(err, ErrNotPV) {
		t.Errorf("a tiny device: %v", err)
	}
}

// metadata is a text as LVM writes it, shortened.
const metadata = `vg {
id = "xlyuWE-5pLH-Ria9-eb4Z-xNtG-sUFu-ae7tHD"
seqno = 4
status = ["RESIZEABLE", "READ", "WRITE"]
extent_size = 8192
physical_volumes {
	pv0 {
		id = "A0bigO-kgSY-J9zf-CUwf-Vfb9-Mp6R-dIZ1Zh"
		device = "/dev/sda2"	# Hint only
		flags = []
		pe_start = 2048
		pe_count = 100
	}
}
logical_volumes {
	root {
		id = "DrNKov-0rRq-AKQG-784u-BEp7-s944-Yl4qNH"
		status = ["READ", "WRITE", "VISIBLE"]
		segment_count = 1
		segment1 {
			start_extent = 0
			extent_count = 10
			type = "striped"
			stripe_count = 1	# linear
			stripes = [
				"pv0", 90
			]
		}
	}
}
}
contents = "Text Format Volume Group"
version = 1
description = "a \"quoted\" word and a \\"
`

func TestParseGroup(t *testing.T) {
	g, err := parseGroup([]byte(metadata))
	if err != nil {
		t.Fatal(err)
	}
	v, ok := g.Volume("root")
	if !ok || v.Extents() != 10 || v.Segments[0] != (Segment{0, 10, SegmentLinear, "pv0", 90}) {
		t.Errorf("%+v", g)
	}
	for name, edit := range map[string][2]string{
		"a name twice":          {"seqno = 4", "seqno = 4\nseqno = 4"},
		"no end":                {"}\n}\ncontents", "contents"},
		"one end too many":      {"contents", "}\ncontents"},
		"no value":              {"seqno = 4", "seqno ="},
		"no name":               {"seqno = 4", "= 4"},
		"neither = nor {":       {"seqno = 4", "seqno 4"},
		"another number":        {"seqno = 4", "seqno = 04"},
		"a large number":        {"seqno = 4", "seqno = 18446744073709551616"},
		"a negative number":     {"pe_count = 100", "pe_count = -100"},
		"a list without end":    {`"pv0", 90`, `"pv0", 90 90`},
		"a list in a list":      {`"pv0", 90`, `["pv0", 90]`},
		"a string without end":  {`"/dev/sda2"`, `"/dev/sda2`},
		"a NUL":                 {"seqno = 4", "seqno = 4\x00"},
		"a NUL in a string":     {"/dev/sda2", "/dev/sda\x00"},
		"nested too deeply":     {"version = 1", strings.Repeat("x {", 10) + strings.Repeat("}", 10)},
		"other contents":        {"Text Format Volume Group", "Text Format Volume"},
		"other version":         {"version = 1", "version = 2"},
		"two groups":            {"version = 1", "other { id = \"\" }"},
		"a bad id":              {"xlyuWE-5pLH", "xlyuWE-5p/H"},
		"a short id":            {"xlyuWE-5pLH", "xlyuWE"},
		"extents of nothing":    {"extent_size = 8192", "extent_size = 0"},
		"extents beyond words":  {"extent_size = 8192", "extent_size = 9223372036854775807"},
		"a vast volume":         {"pe_count = 100", "pe_count = 4294967296\nx = 1"},
		"members as a number":   {"physical_volumes {", "physical_volumes = 3\nphysical {"},
		"member as a number":    {"pv0 {", "pv1 = 3\npv0 {"},
		"status of numbers":     {`status = ["RESIZEABLE", "READ", "WRITE"]`, "status = [1]"},
		"segments not counted":  {"segment_count = 1", "segment_count = 2"},
		"another segment":       {"segment1 {", "segment2 {"},
		"a late segment":        {"start_extent = 0", "start_extent = 1"},
		"an empty segment":      {"extent_count = 10", "extent_count = 0"},
		"beyond the member":     {"extent_count = 10", "extent_count = 11"},
		"before the member":     {`"pv0", 90`, `"pv0", -1`},
		"an unknown member":     {`"pv0", 90`, `"pv1", 90`},
		"half a stripe":         {`"pv0", 90`, `"pv0"`},
		"a stripe of numbers":   {`"pv0", 90`, `0, 90`},
		"no stripes":            {"stripes = [", "stropes = ["},
		"stripes as a section":  {"stripes = [\n\t\t\t\t\"pv0\", 90\n\t\t\t]", "stripes { }"},
		"lock_type as a number": {"seqno = 4", "seqno = 4\nlock_type = 4"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(metadata, edit[0]) {
				t.Fatalf("nothing like %q to edit", edit[0])
			}
			text := strings.Replace(metadata, edit[0], edit[1], 1)
			if name == "a vast volume" {
				text = strings.Replace(text, "extent_size = 8192", "extent_size = 2147483648", 1)
			}
			if g, err := parseGroup([]byte(text)); !errors.Is(err, ErrLVM) {
				t.Errorf("parseGroup = %+v, %v", g, err)
			}
		})
	}
}

func TestGroupMap(t *testing.T) {
	pv, err := ReadPV(fixture(t, "pieces-0", 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	g := pv.Group
	a, ok := g.Volume("a")
	if !ok || len(a.Segments) != 3 {
		t.Fatalf("%+v", g)
	}
	at := map[string]Place{pv.UUID: {512 * mib, 1 << 30}}
	m, err := g.Map(a, at)
	start := 512*mib + g.Members[0].Start
	want := DeviceMap{
		{0, start, 100 * mib},
		{100 * mib, start + 150*mib, 60 * mib},
		{160 * mib, start + 218*mib, 60 * mib},
	}
	if err != nil || !slices.Equal(m, want) {
		t.Errorf("Map = %v, %v, want %v", m, err, want)
	}
	free := g.Free(g.Members[0], 512*mib)
	if n := len(free); n != 1 || free[n-1].Disk != start+286*mib || free[n-1].DiskEnd() != start+g.Members[0].Extents*g.ExtentSize {
		t.Errorf("Free = %v", free)
	}
	if _, err := g.Map(a, nil); !errors.Is(err, ErrLVM) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("Map without the member: %v", err)
	}
	if _, err := g.Map(a, map[string]Place{pv.UUID: {0, 200 * mib}}); !errors.Is(err, ErrLVM) {
		t.Errorf("Map on a partition that has shrunk: %v", err)
	}
	striped, err := ReadPV(fixture(t, "striped-0", 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range striped.Group.Volumes {
		if _, err := striped.Group.Map(&v, at); !errors.Is(err, ErrLVM) {
			t.Errorf("Map of %s: %v", v.Name, err)
		}
	}
}
