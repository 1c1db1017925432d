package migrate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/test/olddisk"
)

// fakeHost is a running machine made of files.
type fakeHost struct {
	*host
	dir  string
	free map[string][2]int64 // mount point → size and free
}

// newHost returns a machine that runs from a disk image whose partitions are
// given as "number start size" in sectors.
func newHost(t *testing.T, img string, files map[string]string, links map[string]string) *fakeHost {
	t.Helper()
	h := &fakeHost{dir: t.TempDir(), free: map[string][2]int64{}}
	h.host = &host{
		root: filepath.Join(h.dir, "root"), proc: filepath.Join(h.dir, "proc"), sys: filepath.Join(h.dir, "sys"), dev: "/dev",
		cpuLevel: func() int { return 3 },
		statfs: func(path string) (int64, int64, error) {
			f := h.free[path]
			return f[0], f[1], nil
		},
		open: func(path string) (device, error) {
			if path != "/dev/sda" {
				t.Errorf("opened %s", path)
			}
			return blockdev.Open(img, blockdev.Options{})
		},
	}
	for name, text := range files {
		path := filepath.Join(h.dir, name)
		dir := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			dir = path
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == path {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range links {
		path := filepath.Join(h.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(h.dir, target), path); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

const sda = "sys/devices/sda/"

// filesL1 are the files of a machine with the disk L1 of olddisk.
func filesL1() map[string]string {
	return map[string]string{
		"proc/cmdline":                         "root=/dev/mapper/centos-root ro rd.lvm.lv=centos/root\n",
		"proc/meminfo":                         "MemTotal:        2097152 kB\nMemFree: 1 kB\n",
		"proc/sys/kernel/osrelease":            "3.10.0-1160.el7.x86_64\n",
		"root/etc/os-release":                  "NAME=x\nPRETTY_NAME=\"CentOS Linux 7 (Core)\"\n",
		sda + "queue/logical_block_size":       "512\n",
		sda + "queue/physical_block_size":      "4096\n",
		sda + "sda1/partition":                 "1\n",
		sda + "sda1/start":                     "2048\n",
		sda + "sda1/size":                      "2095104\n",
		sda + "sda1/dev":                       "8:1\n",
		sda + "sda2/partition":                 "2\n",
		sda + "sda2/start":                     "2097152\n",
		sda + "sda2/size":                      "39845888\n",
		sda + "sda2/dev":                       "8:2\n",
		"sys/devices/dm-0/dm/uuid":             "LVM-abc\n",
		"sys/devices/dm-0/dm/name":             "centos-root\n",
		"sys/devices/dm-0/dev":                 "253:0\n",
		"sys/devices/dm-1/dm/uuid":             "LVM-abd\n",
		"sys/devices/dm-1/dm/name":             "centos-home\n",
		"sys/devices/dm-1/dev":                 "253:1\n",
		"root/home/alice/letter":               strings.Repeat("x", 10000),
		"root/home/nfs/secret":                 "elsewhere",
		"root/srv/www/index.html":              "hello",
		"root/opt/empty/":                      "",
		"root/usr/bin/bash":                    "the system's",
		"root/usr/local/bin/tool":              "the customer's",
		"root/var/lib/rpm/Packages":            "the system's",
		"root/var/lib/mysql/db":                "the customer's",
		"root/var/log/messages":                "lines",
		"root/var/www/site":                    "the customer's",
		"root/data/archive":                    "the customer's",
		"root/big/drop-me":                     "not needed",
		"root/etc/abupdate/preserve.d/10.toml": "[[drop]]\npath = \"/big\"\nrecursive = true\nreason = \"rebuilt nightly\"\n",
		"root/tmp/scratch":                     "gone",
		"root/mnt/usb/file":                    "on a stick",
		"proc/self/mountinfo": "1 0 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/centos-root rw\n" +
			"2 1 8:1 / /boot rw - xfs /dev/sda1 rw\n" +
			"3 1 253:1 / /home rw - xfs /dev/mapper/centos-home rw\n" +
			"4 3 0:40 / /home/nfs rw - nfs server:/x rw\n" +
			"5 1 8:17 / /mnt/usb rw - vfat /dev/sdb1 rw\n" +
			"6 1 253:0 /srv /var/bind rw - xfs /dev/mapper/centos-root rw\n" +
			"7 1 0:20 / /sys rw - sysfs sysfs rw\n",
	}
}

func linksL1() map[string]string {
	return map[string]string{
		"sys/dev/block/253:0":          "sys/devices/dm-0",
		"sys/dev/block/253:1":          "sys/devices/dm-1",
		"sys/devices/dm-0/slaves/sda2": "sys/devices/sda/sda2",
		"sys/devices/dm-1/slaves/sda2": "sys/devices/sda/sda2",
		"sys/class/block/sda":          "sys/devices/sda",
		"sys/class/block/sda1":         "sys/devices/sda/sda1",
		"sys/class/block/sda2":         "sys/devices/sda/sda2",
		"sys/class/block/dm-0":         "sys/devices/dm-0",
		"sys/class/block/dm-1":         "sys/devices/dm-1",
	}
}

func TestSurveyLive(t *testing.T) {
	files := filesL1()
	h := newHost(t, olddisk.Layouts["L1"].Make(t), files, linksL1())
	// The policy file must be root's.
	if os.Geteuid() != 0 {
		os.Remove(filepath.Join(h.dir, "root/etc/abupdate/preserve.d/10.toml"))
	}
	h.free["/"], h.free["/home"], h.free["/boot"] = [2]int64{10 * gib, 8 * gib}, [2]int64{6 * gib, 5 * gib}, [2]int64{gib, gib / 2}
	s, err := h.survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := s.Machine
	if m.Firmware != BIOS || m.CPULevel != 3 || m.RAM != 2*gib || m.OS != "CentOS Linux 7 (Core)" || m.Kernel != "3.10.0-1160.el7.x86_64" || s.Disk.Physical != 4096 {
		t.Errorf("%+v, %+v", m, s.Disk)
	}
	root := s.Root()
	if root == nil || root.Name != "centos/root" || root.Content.Free != 8*gib || root.Device != "/dev/mapper/centos-root" || root.Problem != "" {
		t.Errorf("%+v", root)
	}
	got := map[string]Tree{}
	for _, tree := range s.Trees {
		got[tree.Path] = tree
	}
	for path, want := range map[string]struct{ volume, drop string }{
		"/home": {"centos/home", ""}, "/srv": {"centos/root", ""}, "/usr/local": {"centos/root", ""}, "/var/lib/mysql": {"centos/root", ""},
		"/var/www": {"centos/root", ""}, "/data": {"centos/root", ""}, "/big": {"centos/root", "rebuilt nightly"},
		"/var/log": {"centos/root", "logs"}, "/tmp": {"centos/root", "temporary"},
	} {
		tree, ok := got[path]
		if path == "/big" && os.Geteuid() != 0 {
			want.drop = ""
		}
		if !ok || tree.Volume != want.volume || (tree.Drop != "") != (want.drop != "") || !strings.Contains(tree.Drop, want.drop) || tree.Files == 0 {
			t.Errorf("%s: %+v", path, tree)
		}
		delete(got, path)
	}
	if len(got) != 0 {
		t.Errorf("unexpected trees: %+v", got)
	}
	if home := s.Trees[slices.IndexFunc(s.Trees, func(x Tree) bool { return x.Path == "/home" })]; home.Files != 1 || !home.Root || home.Bytes < 10000 {
		t.Errorf("another file system was counted: %+v", home)
	}
	if !slices.ContainsFunc(s.Unseen, func(u string) bool { return strings.Contains(u, "/mnt/usb") }) {
		t.Errorf("%q", s.Unseen)
	}
	p := NewPlan(s, Options{SlotSize: gib})
	checkPlan(t, s, p)
	if p.Err() != nil || p.Tier != Carve || p.Data.Mode != DataInPlace {
		t.Errorf("%v, %+v", p.Err(), p)
	}
}

// TestLiveRefusals: what only a running machine shows.
func TestLiveRefusals(t *testing.T) {
	const mounts = "proc/self/mountinfo"
	img := olddisk.Layouts["L1"].Make(t)
	edit := func(name, text string) func(files, links map[string]string) {
		return func(files, _ map[string]string) { files[name] = text }
	}
	for name, tc := range map[string]struct {
		change func(files, links map[string]string)
		code   string
	}{
		"container": {edit(mounts, "1 0 0:50 / / rw - overlay overlay rw\n"), "no-disk"},
		"btrfs":     {edit(mounts, "1 0 0:30 /root / rw - btrfs /dev/sda2 rw\n"), "no-disk"},
		"unknown":   {edit(mounts, "1 0 9:9 / / rw - ext4 /dev/x rw\n"), "no-disk"},
		"LUKS":      {edit("sys/devices/dm-0/dm/uuid", "CRYPT-LUKS2-x"), "luks"},
		"multipath": {edit("sys/devices/dm-0/dm/uuid", "part1-mpath-x"), "multipath"},
		"mapper":    {edit("sys/devices/dm-0/dm/uuid", "VDO-x"), "device-mapper"},
		"RAID":      {edit("sys/devices/dm-0/md/level", "raid1"), "mdraid"},
		"LUKS on LVM": {func(files, links map[string]string) {
			files["sys/devices/dm-2/dm/uuid"] = "CRYPT-LUKS1-x"
			files[mounts] = strings.ReplaceAll(files[mounts], "253:0 / /", "253:2 / /")
			links["sys/dev/block/253:2"], links["sys/devices/dm-2/slaves/dm-0"] = "sys/devices/dm-2", "sys/devices/dm-0"
		}, "luks"},
		"two disks": {func(files, links map[string]string) {
			files["sys/devices/sdb/sdb1/partition"] = "1"
			links["sys/devices/dm-0/slaves/sdb1"] = "sys/devices/sdb/sdb1"
		}, "disks"},
		"whole disk": {func(files, links map[string]string) {
			files["sys/devices/sda/slaves/"] = ""
			links["sys/devices/dm-0/slaves/sda2"] = "sys/devices/sda"
		}, "no-table"},
		"RAID partition": {func(files, links map[string]string) {
			files["sys/devices/md0/md/level"], files["sys/devices/md0/md0p1/partition"] = "raid1", "1"
			links["sys/devices/dm-0/slaves/sda2"] = "sys/devices/md0/md0p1"
		}, "mdraid"},
		"4Kn":            {edit(sda+"queue/logical_block_size", "4096"), "4kn"},
		"A/B":            {edit("proc/cmdline", "ab.slot=a ab.why=good ab.seq=3 ab.state=4096 root=x"), "already-ab"},
		"read-only":      {edit(mounts, strings.Replace(filesL1()[mounts], "/ / rw", "/ / ro", 1)), "read-only"},
		"table changed":  {edit(sda+"sda2/size", "2048"), "volume"},
		"home not there": {edit(mounts, strings.Replace(filesL1()[mounts], "3 1 253:1 / /home rw - xfs /dev/mapper/centos-home rw\n", "", 1)), "not-mounted"},
		"UEFI, Secure on": {func(files, _ map[string]string) {
			files["sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"] = "\x06\x00\x00\x00\x01"
		}, "secure-boot"},
		"UEFI with MBR": {edit("sys/firmware/efi/", ""), "uefi-mbr"},
	} {
		t.Run(name, func(t *testing.T) {
			files, links := filesL1(), linksL1()
			delete(files, "root/etc/abupdate/preserve.d/10.toml")
			tc.change(files, links)
			h := newHost(t, img, files, links)
			h.free["/"], h.free["/home"] = [2]int64{10 * gib, 8 * gib}, [2]int64{6 * gib, 5 * gib}
			s, err := h.survey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p := NewPlan(s, Options{SlotSize: gib})
			checkPlan(t, s, p)
			if !slices.ContainsFunc(p.Refusals, func(r Refusal) bool { return r.Code == tc.code }) {
				t.Errorf("no %s in %+v", tc.code, p.Refusals)
			}
		})
	}
}

func TestParseMounts(t *testing.T) {
	m, err := parseMounts(strings.NewReader("1 0 8:1 / / rw shared:1 master:2 - ext4 /dev/sda1 rw,errors=remount-ro\n2 1 8:2 / /a\\040b\\011 rw - xfs /dev/sda2 ro\n3 1 8:3 / /a\\040b\\011 rw - xfs /dev/sda3 rw\n"))
	if err != nil || len(m) != 2 || m["/"].readOnly || m["/a b\t"].device != "8:3" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{"x\n", "1 0 8:1 / / rw ext4 /dev/sda1 rw\n", "1 0 - ext4 x\n"} {
		if m, err := parseMounts(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %+v", bad, m)
		}
	}
}

func TestSplitMapperName(t *testing.T) {
	for in, want := range map[string]string{
		"centos-root": "centos/root", "vg--0-lv--1": "vg-0/lv-1", "a----b-c": "a--b/c",
		"plain": "", "vg-pool-tpool": "", "vg-pool_tdata": "vg/pool_tdata",
	} {
		if got, _ := splitMapperName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzMounts(f *testing.F) {
	f.Add([]byte(filesL1()["proc/self/mountinfo"]))
	f.Add([]byte("1 0 8:1 / /a\\0 rw - ext4 \\134 ro\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = parseMounts(strings.NewReader(string(text)))
	})
}
