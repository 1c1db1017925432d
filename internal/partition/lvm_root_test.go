//go:build root

package partition

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// lvm runs an LVM command without device-mapper, on loop devices only.
func lvm(t *testing.T, args ...string) string {
	t.Helper()
	words := append([]string{args[0], "--driverloaded", "n"}, args[1:]...)
	cmd := exec.Command(tool(t, "lvm", "lvm2"), words...)
	cmd.Env = append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("lvm %s: %v\n%s", strings.Join(words, " "), err, stderr.Bytes())
	}
	return string(out)
}

// lvmFixtures make the physical volumes that testdata/lvm has the first bytes
// of; nodes are loop devices of the given size.
var lvmFixtures = map[string]struct {
	devices int
	size    int64
	make    func(t *testing.T, nodes []string)
}{
	// As the installer of CentOS 7 divides a disk of 20 GiB.
	"el7": {1, 19 << 30, func(t *testing.T, n []string) {
		lvm(t, "vgcreate", "centos", n[0])
		create(t, "centos", "swap", "2G")
		create(t, "centos", "home", "6G")
		create(t, "centos", "root", "10G")
	}},
	// One volume in three pieces, and a ring of texts that has gone round.
	"pieces": {1, 1 << 30, func(t *testing.T, n []string) {
		lvm(t, "pvcreate", "-ff", "-y", "--metadatasize", "40k", "--dataalignment", "4k", n[0])
		lvm(t, "vgcreate", "-s", "1m", "vg-0", n[0])
		create(t, "vg-0", "a", "100m")
		create(t, "vg-0", "b.b", "50m")
		for range 2 {
			lvm(t, "lvextend", "-L", "+60m", "vg-0/a")
			create(t, "vg-0", "between", "8m")
			lvm(t, "lvrename", "vg-0", "between", "between_"+fmt.Sprint(strings.Count(lvm(t, "lvs", "vg-0"), "\n")))
		}
		for i := range 40 {
			lvm(t, "lvchange", "-an", "--addtag", fmt.Sprintf("tag%d", i), "vg-0/a")
		}
	}},
	"striped": {2, 1 << 30, func(t *testing.T, n []string) {
		lvm(t, "vgcreate", "two", n[0], n[1])
		lvm(t, "lvcreate", "-an", "-Zn", "-Wn", "-y", "-n", "s", "-i", "2", "-L", "200m", "two")
		lvm(t, "lvcreate", "-an", "-Zn", "-Wn", "-y", "-n", "both", "-l", "100%FREE", "two")
	}},
	// Kinds that LVM makes with device-mapper only: restored from a text.
	"hidden": {2, 1 << 30, func(t *testing.T, n []string) {
		lvm(t, "vgcreate", "two", n[0], n[1])
		create(t, "two", "plain", "100m")
		path := filepath.Join(t.TempDir(), "two.vg")
		lvm(t, "vgcfgbackup", "-f", path, "two")
		backup, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		hidden, err := os.ReadFile("testdata/lvm/hidden.vg")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(backup), "logical_volumes {", "logical_volumes {\n"+string(hidden), 1)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		lvm(t, "vgcfgrestore", "--force", "-f", path, "two")
	}},
	"orphan": {1, 1 << 30, func(*testing.T, []string) {}},
}

func create(t *testing.T, group, name, size string) {
	t.Helper()
	lvm(t, "lvcreate", "-an", "-Zn", "-Wn", "-y", "-n", name, "-L", size, group)
}

// TestLVMJudge holds the parser against LVM's own reports. With -update it
// also writes the fixtures of the tests without root.
func TestLVMJudge(t *testing.T) {
	for name, f := range lvmFixtures {
		t.Run(name, func(t *testing.T) {
			var nodes []string
			for i := range f.devices {
				path := filepath.Join(t.TempDir(), fmt.Sprint(i))
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(path, f.size); err != nil {
					t.Fatal(err)
				}
				nodes = append(nodes, loop(t, path))
				lvm(t, "pvcreate", nodes[i])
			}
			f.make(t, nodes)
			for i, node := range nodes {
				dev, err := blockdev.Open(node, blockdev.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer dev.Close()
				pv, err := ReadPV(dev)
				if err != nil {
					t.Fatal(err)
				}
				judgePV(t, node, pv)
				if *updateGolden {
					saveFixture(t, fmt.Sprintf("%s-%d", name, i), dev)
				}
			}
		})
	}
}

// judgePV compares with pvs and lvs.
func judgePV(t *testing.T, node string, pv *PhysicalVolume) {
	t.Helper()
	report := func(command, fields string, of ...string) []map[string]string {
		var out struct {
			Report []map[string][]map[string]string
		}
		args := append([]string{command, "-a", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields}, of...)
		if command == "pvs" {
			args = append(args[:1], args[2:]...)
		}
		if err := json.Unmarshal([]byte(lvm(t, args...)), &out); err != nil {
			t.Fatal(err)
		}
		for _, rows := range out.Report[0] {
			return rows
		}
		return nil
	}
	p := report("pvs", "pv_uuid,dev_size,vg_name,vg_uuid,vg_seqno,vg_extent_size,pe_start", node)[0]
	if p["pv_uuid"] != pv.UUID || p["dev_size"] != fmt.Sprint(pv.Size) {
		t.Errorf("%+v, pvs says %v", pv, p)
	}
	g := pv.Group
	if g == nil {
		if p["vg_name"] != "" {
			t.Errorf("no group, pvs says %v", p)
		}
		return
	}
	if p["vg_name"] != g.Name || p["vg_uuid"] != g.UUID || p["vg_seqno"] != fmt.Sprint(g.Seqno) || p["vg_extent_size"] != fmt.Sprint(g.ExtentSize) {
		t.Errorf("%+v, pvs says %v", g, p)
	}
	segments := 0
	for _, row := range report("lvs", "lv_name,lv_uuid,segtype,seg_start,seg_size,seg_pe_ranges", g.Name) {
		segments++
		v, ok := g.Volume(strings.Trim(row["lv_name"], "[]"))
		if !ok || v.UUID != row["lv_uuid"] {
			t.Errorf("no volume like %v", row)
			continue
		}
		found := false
		for _, s := range v.Segments {
			found = found || row["segtype"] == s.Type &&
				row["seg_start"] == fmt.Sprint(s.Start*g.ExtentSize) && row["seg_size"] == fmt.Sprint(s.Extents*g.ExtentSize) &&
				(s.Type != SegmentLinear || strings.HasSuffix(row["seg_pe_ranges"], fmt.Sprintf(":%d-%d", s.First, s.First+s.Extents-1)))
		}
		found = found || row["segtype"] == "striped" && len(v.Segments) > 0
		if !found {
			t.Errorf("segments %+v, lvs says %v", v.Segments, row)
		}
	}
	ours := 0
	for _, v := range g.Volumes {
		ours += len(v.Segments)
	}
	if ours != segments {
		t.Errorf("%d segments, lvs says %d", ours, segments)
	}
}

func saveFixture(t *testing.T, name string, dev blockdev.Device) {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, lvmFixtureSize)
	if _, err := dev.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	z.Write(head)
	z.Close()
	if err := os.WriteFile(filepath.Join("testdata", "lvm", name+".gz"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
