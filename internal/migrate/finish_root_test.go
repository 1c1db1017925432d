//go:build root

package migrate

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/partition"
)

// loopDisk is an empty disk as a block device of the kernel, with partitions
// that it has been told of: not every kernel that this runs on reads tables.
func loopDisk(t *testing.T, table *partition.Table) *LiveDisk {
	t.Helper()
	img := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(img, nil, 0o600))
	must(t, os.Truncate(img, 64*mib))
	out, err := exec.Command(tool(t, "losetup", "mount"), "--find", "--show", "--partscan", img).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}
	node := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command(tool(t, "losetup", "mount"), "-d", node).CombinedOutput(); err != nil {
			t.Errorf("losetup -d %s: %v\n%s", node, err, out)
		}
	})
	disk, err := blockdev.Open(node, blockdev.Options{Write: true})
	must(t, err)
	t.Cleanup(func() { disk.Close() })
	d := NewLiveDisk(node, disk)
	if seen, err := d.Repartition(table); err != nil || !seen {
		t.Fatalf("partitions on a loop device: %v, %v", seen, err)
	}
	return d
}

func mbr(parts ...partition.Part) *partition.Table {
	for i := range parts {
		parts[i].Type = partition.TypeMBRLinux
	}
	return &partition.Table{Scheme: partition.MBR, DiskID: "000c0ffe", Parts: parts}
}

// TestKernelRepartition: the kernel takes the table of the end while slot a is
// mounted, and says what of the old system is in use.
func TestKernelRepartition(t *testing.T) {
	boot := partition.Part{Number: 3, Start: 20 * mib, Size: 4 * mib}
	a := partition.Part{Number: 4, Start: 24 * mib, Size: 8 * mib}
	trial := mbr(partition.Part{Number: 1, Start: mib, Size: 8 * mib}, partition.Part{Number: 2, Start: 33 * mib, Size: 30 * mib}, boot, a)
	end := mbr(partition.Part{Number: 1, Start: mib, Size: 8 * mib}, partition.Part{Number: 2, Start: 40 * mib, Size: 20 * mib}, boot, a)
	d := loopDisk(t, trial)
	for _, n := range []string{"p4", "p1"} {
		if out, err := exec.Command(tool(t, "mke2fs", "e2fsprogs"), "-q", d.node+n).CombinedOutput(); err != nil {
			t.Fatalf("mke2fs: %v\n%s", err, out)
		}
	}
	mount := func(n string) (dir string, unmount func()) {
		dir = t.TempDir()
		must(t, unix.Mount(d.node+n, dir, "ext4", 0, ""))
		return dir, func() { must(t, unix.Unmount(dir, 0)) }
	}
	_, unmountA := mount("p4")
	defer unmountA()
	dir, unmountOld := mount("p1")
	keep := []Region{{a.Start, a.Size}, {boot.Start, boot.Size}}
	used, err := d.InUse(keep)
	if want := filepath.Base(d.node) + "p1 is mounted at " + dir; err != nil || !slices.Equal(used, []string{want}) {
		t.Errorf("in use: %q, %v", used, err)
	}
	unmountOld()
	if used, err := d.InUse(keep); err != nil || len(used) > 0 {
		t.Errorf("in use: %q, %v", used, err)
	}
	// Somebody has the old partition open: the kernel keeps it.
	busy, err := os.OpenFile(d.node+"p2", os.O_RDONLY|unix.O_EXCL, 0)
	must(t, err)
	if seen, err := d.Repartition(end); err != nil || seen {
		t.Errorf("with an open partition: %v, %v", seen, err)
	}
	must(t, busy.Close())
	if seen, err := d.Repartition(end); err != nil || !seen {
		t.Errorf("%v, %v", seen, err)
	}
	parts, err := d.parts()
	must(t, err)
	for _, p := range end.Parts {
		if !slices.ContainsFunc(parts, func(k kernelPart) bool { return k.number == p.Number && k.start == p.Start && k.size == p.Size }) {
			t.Errorf("the kernel has %+v, and not %+v", parts, p)
		}
	}
}

// TestStub: the vendor's grub.cfg is changed by its first sector only,
// at the place that is saved.
func TestStub(t *testing.T) {
	d := loopDisk(t, mbr(partition.Part{Number: 1, Start: mib, Size: 40 * mib}))
	// Not every kernel that this runs on has vfat.
	d.espType = "ext4"
	if out, err := exec.Command(tool(t, "mke2fs", "e2fsprogs"), "-q", d.node+"p1").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	esp := partition.Part{Number: 1, Start: mib, Size: 40 * mib}
	long := strings.Repeat("menuentry 'CentOS' { true }\n", 100)
	err := d.withESP(1, func(dir string) error {
		for name, content := range map[string]string{"EFI/centos/grub.cfg": long, "EFI/other/grub.cfg": "configfile x\n", espDir + "/grub.cfg": "ours", ourLoader: "LOADER"} {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
				return err
			}
		}
		return syncFS(dir)
	})
	must(t, err)
	var saved []SavedSectors
	secure := func() error {
		return d.SecureLoaders(esp, "0badcafe", func(s SavedSectors) error { saved = append(saved, s); return nil })
	}
	must(t, secure())
	must(t, secure()) // again is nothing to do
	if len(saved) != 2 {
		t.Fatalf("%d sectors were saved", len(saved))
	}
	must(t, d.withESP(1, func(dir string) error {
		got, err := os.ReadFile(filepath.Join(dir, "EFI/centos/grub.cfg"))
		if want := string(stubText("0badcafe")) + long[512:]; err != nil || string(got) != want {
			t.Errorf("the vendor's grub.cfg is %q, %v", got, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, defaultLoader)); err != nil || string(got) != "LOADER" {
			t.Errorf("the default loader is %q, %v", got, err)
		}
		return nil
	}))
	// abort writes what was saved back, by disk address.
	for _, s := range saved {
		_, err := d.disk.WriteAt(s.Bytes, s.Off)
		must(t, err)
	}
	must(t, d.withESP(1, func(dir string) error {
		got, err := os.ReadFile(filepath.Join(dir, "EFI/centos/grub.cfg"))
		if err != nil || string(got) != long {
			t.Errorf("taken back, the vendor's grub.cfg is %q, %v", got, err)
		}
		return nil
	}))
}
