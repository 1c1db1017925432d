//go:build qemu

// Package migrator boots the migrator's initramfs on a Debian kernel, without
// GRUB: what the kernel does with its modules, device-mapper and read-only
// devices cannot be found out in any other way.
package migrator

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/abupdate/abupdate/images/kernel"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/migrate/initramfs"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

const repo = "../../.."

// oldAddress is that of the old system's only card.
const oldAddress = "10.0.2.77"

// memoryLimit is what the migrator's process may take, in KiB.
const memoryLimit = 64 << 10

// packed is a kernel and an initramfs, made once.
type packed struct{ kernel, initramfs string }

var (
	once  sync.Once
	ready packed
)

// pack makes the initramfs as migrate prepare does it on a machine with such a
// disk.
func (d *device) pack() packed {
	d.t.Helper()
	once.Do(func() {
		dir, err := os.MkdirTemp(filepath.Join(repo, "build"), "migrator-")
		d.must(err)
		k, err := kernel.Fetch(context.Background(), filepath.Join(repo, "build/cache/kernel"), kernel.Cloud, []string{"virtio"})
		d.must(err)
		deb := k.Modules[:strings.LastIndex(k.Modules, "-")] + ".deb"
		d.run("dpkg-deb", "-x", deb, dir)
		d.run("depmod", "-b", dir, k.Release)
		machine := filepath.Join(dir, "sys/devices/pci0000:00")
		for name, alias := range map[string]string{
			"disk": "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", "card": "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00", "card/virtio1": "virtio:d00000001v00001AF4",
		} {
			d.must(os.MkdirAll(filepath.Join(machine, name), 0o755))
			d.must(os.WriteFile(filepath.Join(machine, name, "modalias"), []byte(alias+"\n"), 0o644))
		}
		program := filepath.Join(dir, "migrator")
		d.run("env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "github.com/abupdate/abupdate/cmd/initramfs-migrator")
		tree, err := os.OpenRoot(dir)
		d.must(err)
		defer tree.Close()
		out, err := os.Create(filepath.Join(dir, "initramfs"))
		d.must(err)
		d.must(initramfs.Build(out, initramfs.Options{Migrator: program, KernelRelease: k.Release, Root: tree, Need: []string{"ext4", "xfs", "dm_mod"}}))
		d.must(out.Close())
		ready = packed{k.Image, out.Name()}
	})
	if ready.kernel == "" {
		d.t.Fatal("the initramfs could not be made")
	}
	return ready
}

func TestMain(m *testing.M) {
	code := m.Run()
	if ready.initramfs != "" {
		os.RemoveAll(filepath.Dir(ready.initramfs))
	}
	os.Exit(code)
}

// turn gives the migrator one turn, in a machine of 256 MiB, and returns what
// it said on the serial line.
func (d *device) turn() string {
	d.t.Helper()
	return d.turnWith(func(context.Context, *vm.Machine) {})
}

// turnWith lets somebody meddle while the migrator runs.
func (d *device) turnWith(meddle func(context.Context, *vm.Machine)) string {
	d.t.Helper()
	p := d.pack()
	d.must(d.j.Record(d.store()))
	d.must(d.file.Sync())
	s, _, err := d.store().State()
	d.must(err)
	words := fmt.Sprintf("console=ttyS0 quiet panic=10 selinux=0 ab.slot=mig ab.why=migrate ab.seq=%010d ab.state=%d", s.Seq, d.at.State.Off/512)
	logs := d.t.TempDir()
	ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Minute)
	defer cancel()
	m, err := vm.Start(ctx, vm.Config{
		Firmware: vm.BIOS, Disks: []vm.Disk{{Path: d.path}}, MemoryMiB: 256, LogDir: logs,
		Forward: []int{22}, Guests: []string{oldAddress},
		Args: []string{"-no-reboot", "-kernel", p.kernel, "-initrd", p.initramfs, "-append", words},
	})
	d.must(err)
	defer m.Close()
	meddle(ctx, m)
	err = m.Wait(ctx)
	said, _ := os.ReadFile(filepath.Join(logs, "serial0.log"))
	if err != nil {
		d.t.Fatalf("%v\n%s", err, said)
	}
	d.j, err = migrate.RecordedJournal(d.store())
	d.must(err)
	return string(said)
}

// cat reads a file of an ext4 file system, with e2fsprogs.
func (d *device) cat(img, name string) string {
	d.t.Helper()
	out := d.run("debugfs", "-R", "cat "+name, img)
	_, text, _ := strings.Cut(out, "\n") // its version
	return text
}

// checkNew wants the old system's identity in slot a, a clean file system, and
// its trial next.
func (d *device) checkNew(said string) {
	d.t.Helper()
	s, _, err := d.store().State()
	d.must(err)
	want := bootctl.TrialOfMigrated(s, 2)
	if s != want || d.j.Phase != migrate.PhaseTrial || d.j.Reason != "" {
		d.t.Fatalf("boot state %+v, phase %s, reason %q\n%s", s, d.j.Phase, d.j.Reason, said)
	}
	img := d.take(partition.DeviceMap{{Disk: d.j.A.Start, Len: 24 * mib}})
	d.run("e2fsck", "-fn", img)
	if got := d.cat(img, "/etc/hostname"); got != "kept-name\n" {
		d.t.Errorf("its hostname is %q", got)
	}
	if got := d.cat(img, "/etc/shadow"); !strings.Contains(got, "operator9:$6$c$d:") {
		d.t.Errorf("its logins are %q", got)
	}
	args, err := d.store().Args(bootctl.SystemA)
	if err != nil || args.Image != "quiet" || !strings.HasPrefix(args.Device, "console=ttyS0") {
		d.t.Errorf("its kernel arguments are %+v, %v", args, err)
	}
	for line := range strings.Lines(said) {
		if _, kib, ok := strings.Cut(line, "peak memory "); ok {
			n, err := strconv.Atoi(strings.Fields(kib)[0])
			if d.must(err); n > memoryLimit {
				d.t.Errorf("the migrator took %d KiB", n)
			}
			d.t.Logf("peak memory of the migrator: %d KiB", n)
			return
		}
	}
	d.t.Error("it did not say how much memory it took")
}

// checkOld wants the old system byte by byte as it was.
func (d *device) checkOld() {
	d.t.Helper()
	if d.hash(root) != d.old["root"] || d.hash(home) != d.old["home"] {
		d.t.Error("the old system was written to")
	}
}

func TestCarve(t *testing.T) {
	d := newDevice(t, migrate.Carve)
	d.install("")
	d.offer()
	d.j.DataMode, d.j.Copy = migrate.DataCopy, migrate.Region{Start: data.Start, Size: data.Size}
	d.j.Trees = []migrate.CopiedTree{{Path: "/home", Bytes: 140000}, {Path: "/opt/app", Bytes: 11}}
	d.checkNew(d.turn())
	d.checkOld()
	img := d.take(partition.DeviceMap{{Disk: data.Start, Len: data.Size}})
	d.run("e2fsck", "-fn", img)
	if got := d.cat(img, "/home/operator9/notes"); got != strings.Repeat("customer data\n", 10000) {
		t.Errorf("customers' data: %d bytes", len(got))
	}
	if got := d.cat(img, "/opt/app/config"); got != "customer's\n" {
		t.Errorf("customers' data: %q", got)
	}
	if got := d.run("debugfs", "-R", "stat /home/operator9", img); !strings.Contains(got, "Mode:  0700") || !strings.Contains(got, "User:  1009") {
		t.Errorf("owner and mode of customers' data: %s", got)
	}
}

func TestOldSystemNotClean(t *testing.T) {
	d := newDevice(t, migrate.Carve)
	d.install("needs_recovery")
	d.offer()
	said := d.turn()
	s, _, err := d.store().State()
	d.must(err)
	if s.Primary != slot.B || !s.B.OK || s.BKind != bootctl.KindOld || s.Migrate {
		t.Errorf("boot state %+v\n%s", s, said)
	}
	if d.j.Phase != migrate.PhaseFailed || !strings.Contains(d.j.Reason, "not shut down cleanly") {
		t.Errorf("phase %s, reason %q\n%s", d.j.Phase, d.j.Reason, said)
	}
	d.checkOld()
}

func TestGather(t *testing.T) {
	d := newDevice(t, migrate.Gather)
	d.install("")
	d.offer()
	d.j.DataMode, d.j.DataVolume = migrate.DataInPlace, "centos/home"
	d.j.Data = migrate.Region{Start: home[0].Disk, Size: home[0].Len}
	d.j.Trees = []migrate.CopiedTree{{Path: "/opt/app", Bytes: 11}}
	d.checkNew(d.turn())
	if _, err := d.store().Args(bootctl.SystemOld); err == nil {
		t.Error("the old system, which is overwritten, would be booted")
	}
	d.checkKept()
	// The trial fails: the migrator streams once more.
	d.checkNew(d.turn())
	if d.j.Failures != 1 || d.j.Attempts != 2 {
		t.Errorf("%d failures, %d attempts were counted", d.j.Failures, d.j.Attempts)
	}
	d.checkKept()
}

// checkKept wants what the old /home had, clean, and beside it what was copied
// from the root file system before that was overwritten.
func (d *device) checkKept() {
	d.t.Helper()
	img := d.take(home)
	d.run("xfs_repair", "-n", img)
	at := d.t.TempDir()
	d.run("mount", "-o", "ro,loop,norecovery", img, at)
	defer d.run("umount", at)
	for name, want := range map[string]string{"operator9/notes": strings.Repeat("customer data\n", 10000), "opt/app/config": "customer's\n"} {
		if got, err := os.ReadFile(filepath.Join(at, name)); err != nil || string(got) != want {
			d.t.Errorf("%s on the data volume: %d bytes, %v", name, len(got), err)
		}
	}
	if entries, err := os.ReadDir(at); err != nil || len(entries) != 2 {
		d.t.Errorf("the data volume has %v, %v", entries, err)
	}
}

// TestStuck: where nothing holds any more the migrator is found at the old
// address, with the old host key, and tries again when it is told to.
func TestStuck(t *testing.T) {
	d := newDevice(t, migrate.Gather)
	d.install("")
	d.offer()
	parity, err := (&migrate.Parity{
		Links: []migrate.ParityLink{{
			MAC: "52:54:00:12:34:56", Name: "eth0", Card: true, Carrier: true,
			Addresses: []migrate.ParityAddress{{Prefix: netip.MustParsePrefix(oldAddress + "/24")}},
		}},
		Gateways: []migrate.ParityGateway{{Via: netip.MustParseAddr("10.0.2.2"), MAC: "52:54:00:12:34:56"}},
		SSHPorts: []int{22},
	}).Encode()
	d.must(err)
	d.must(d.store().SetRecord(bootctl.RecordParity, parity))
	d.checkNew(d.turn())
	d.j.Failures, d.j.Reason = 3, "the new system has no network"
	said := d.turnWith(func(ctx context.Context, m *vm.Machine) {
		if _, err := m.Console.Expect(ctx, `ssh root@10\.0\.2\.77`); err != nil {
			t.Fatal(err)
		}
		address, err := m.AddressAt(ctx, oldAddress, 22)
		d.must(err)
		if got := d.ssh(address, "status"); !strings.Contains(got, "the new system has no network") {
			t.Errorf("status: %s", got)
		}
		if got := d.ssh(address, "log"); !strings.Contains(got, "found it: /dev/vda") {
			t.Errorf("log: %s", got)
		}
		d.ssh(address, "retry")
	})
	d.checkNew(said)
}

// ssh is what the administrator does, who knows the old host key.
func (d *device) ssh(address, command string) string {
	d.t.Helper()
	host, port, err := net.SplitHostPort(address)
	d.must(err)
	dir := filepath.Dir(d.path)
	public, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	d.must(err)
	known := filepath.Join(dir, "known_hosts")
	d.must(os.WriteFile(known, fmt.Appendf(nil, "[%s]:%s %s", host, port, public), 0o600))
	return d.run("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile="+known, "-i", filepath.Join(dir, "admin"), "-p", port, "root@"+host, command)
}
