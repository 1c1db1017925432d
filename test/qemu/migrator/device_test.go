//go:build qemu

package migrator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/internal/update"
)

const mib = int64(1) << 20

// The disk: abboot's preallocated files and nothing else of it; the old root
// file system in two pieces, the second one first, as a volume group may have
// it; its /home on XFS; slot a.
var (
	boot = migrate.Region{Start: 1 * mib, Size: 15 * mib}
	root = partition.DeviceMap{{Start: 0, Disk: 80 * mib, Len: 40 * mib}, {Start: 40 * mib, Disk: 16 * mib, Len: 24 * mib}}
	home = partition.DeviceMap{{Disk: 128 * mib, Len: 300 * mib}}
	// The slots and data.
	slotSize = 32 * mib
	carvedA  = migrate.Region{Start: 440 * mib, Size: slotSize}
	gathered = migrate.Region{Start: 84 * mib, Size: slotSize} // within the old root
	slotB    = migrate.Region{Start: 480 * mib, Size: slotSize}
	data     = migrate.Region{Start: 520 * mib, Size: 64 * mib}
	staged   = partition.DeviceMap{{Start: 0, Disk: 600 * mib, Len: 2 * mib}, {Start: 2 * mib, Disk: 592 * mib, Len: 8 * mib}}
	archive  = partition.DeviceMap{{Disk: 610 * mib, Len: 2 * mib}}
	diskSize = 620 * mib
)

// device is a disk on which the migrator's turn is next.
type device struct {
	t    *testing.T
	path string
	file *blockdev.File
	at   bootctl.Layout
	j    *migrate.Journal
	old  map[string]string // hashes of the old system, by name

	hostKey, adminKey string // the old system's, and who may log in
}

func newDevice(t *testing.T, tier migrate.Tier) *device {
	t.Helper()
	d := &device{t: t, path: filepath.Join(t.TempDir(), "disk.img"), old: map[string]string{}}
	d.must(os.WriteFile(d.path, nil, 0o600))
	d.must(os.Truncate(d.path, diskSize))
	var err error
	d.file, err = blockdev.Open(d.path, blockdev.Options{Write: true})
	d.must(err)
	t.Cleanup(func() { d.file.Close() })
	d.formatBoot()
	d.hostKey, d.adminKey = d.sshKeys()
	d.j = &migrate.Journal{
		Format: 1, Phase: migrate.PhaseStarted, Layout: migrate.L1, Tier: tier, Firmware: "bios", DiskID: "000c0001",
		DiskSize: diskSize, SlotSize: slotSize, Boot: boot, A: carvedA, B: slotB, Data: data, KeepOld: -1,
		BootNumber: 3, ANumber: 4, BNumber: 1, DataNumber: 2, DataMode: migrate.DataNew,
		Old: []migrate.OldVolume{
			{Name: "centos/home", Mount: "/home", Filesystem: "xfs", Map: home},
			{Name: "centos/swap", Filesystem: "swap", Map: archive},
			{Name: "centos/root", Mount: "/", Filesystem: "ext4", Map: root},
		},
		Product: "gw", Version: "2.0.0", DeviceArgs: "console=ttyS0",
	}
	if tier == migrate.Gather {
		d.j.A = gathered
	}
	return d
}

func (d *device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) run(name string, args ...string) string {
	d.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sshKeys makes the old system's host key, and a key of its administrator; both
// stay beside the disk.
func (d *device) sshKeys() (host, admin string) {
	d.t.Helper()
	dir := filepath.Dir(d.path)
	for _, name := range []string{"host", "admin"} {
		d.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(dir, name))
	}
	private, err := os.ReadFile(filepath.Join(dir, "host"))
	d.must(err)
	public, err := os.ReadFile(filepath.Join(dir, "admin.pub"))
	d.must(err)
	return string(private), string(public)
}

// formatBoot makes the state file, with the boot state of a start.
func (d *device) formatBoot() {
	d.t.Helper()
	d.at = bootctl.Layout{ID: "4f1c2a90", BootPart: 3, APart: 4, BPart: 1, DataPart: 2}
	off := boot.Start
	for _, f := range bootctl.PreallocatedFiles() {
		d.must(d.at.Place(f.Path, bootctl.Extent{Off: off, Len: f.Size}))
		off += (f.Size + 4095) / 4096 * 4096
	}
	s := bootctl.StartMigration(bootctl.State{Seq: 1, Primary: slot.A, BKind: bootctl.KindOld}, 3)
	d.must(bootctl.Format(d.file, d.at, s))
	st := d.store()
	d.must(st.SetArgs(bootctl.SystemOld, bootctl.Args{Device: "root=/dev/centos/root"}))
	d.must(st.SetArgs(bootctl.SystemMigrator, bootctl.Args{Device: "console=ttyS0"}))
}

func (d *device) store() *bootctl.Store {
	d.t.Helper()
	st, err := bootctl.Open(d.file, d.at.State.Off)
	d.must(err)
	return st
}

// tree makes a directory with files; a name that ends in / is a directory.
func (d *device) tree(files map[string]string) string {
	d.t.Helper()
	dir := d.t.TempDir()
	d.must(os.Chmod(dir, 0o755))
	for name, text := range files {
		path := filepath.Join(dir, name)
		d.must(os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasSuffix(name, "/") {
			d.must(os.MkdirAll(path, 0o755))
			continue
		}
		d.must(os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// ext4 makes a file system with the files of dir, everything root's.
func (d *device) ext4(dir string, size int64, label string) string {
	d.t.Helper()
	img := filepath.Join(d.t.TempDir(), label)
	d.run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "root_owner=0:0", "-O", "^metadata_csum_seed", "-L", label, "-d", dir, img, fmt.Sprint(size>>10)+"k")
	return img
}

// place writes a file system to its pieces of the disk.
func (d *device) place(img string, m partition.DeviceMap) {
	d.t.Helper()
	b, err := os.ReadFile(img)
	d.must(err)
	for _, r := range m {
		_, err := d.file.WriteAt(b[r.Start:min(r.End(), int64(len(b)))], r.Disk)
		d.must(err)
	}
}

// take reads a file system back into a file.
func (d *device) take(m partition.DeviceMap) string {
	d.t.Helper()
	img := filepath.Join(d.t.TempDir(), "image")
	f, err := os.Create(img)
	d.must(err)
	defer f.Close()
	for _, r := range m {
		_, err := io.Copy(io.NewOffsetWriter(f, r.Start), io.NewSectionReader(d.file, r.Disk, r.Len))
		d.must(err)
	}
	return img
}

func (d *device) hash(m partition.DeviceMap) string {
	d.t.Helper()
	h := sha256.New()
	for _, r := range m {
		_, err := io.Copy(h, io.NewSectionReader(d.file, r.Disk, r.Len))
		d.must(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

const (
	oldPasswd = "root:x:0:0:root:/root:/bin/bash\noperator9:x:1009:1009::/home/operator9:/bin/bash\n"
	oldShadow = "root:$6$a$b:19000:0:99999:7:::\noperator9:$6$c$d:19000:0:99999:7:::\n"
	oldGroup  = "root:x:0:\noperator9:x:1009:\n"
	newPasswd = "root:x:0:0:root:/root:/bin/bash\n"
	newShadow = "root:*:19000:0:99999:7:::\n"
	newGroup  = "root:x:0:\n"
)

// install puts the old system on the disk. features are e2fsprogs' words for
// what is wrong with its root file system.
func (d *device) install(features string) {
	d.t.Helper()
	img := d.ext4(d.tree(map[string]string{
		"etc/hostname": "kept-name\n", "etc/os-release": "ID=centos\nVERSION_ID=7\n", "etc/passwd": oldPasswd, "etc/shadow": oldShadow, "etc/group": oldGroup,
		"etc/ssh/ssh_host_ed25519_key": d.hostKey, "root/.ssh/authorized_keys": d.adminKey,
		"etc/machine-id": "0123456789abcdef0123456789abcdef\n", "home/": "", "boot/": "", "opt/app/config": "customer's\n",
	}), 64*mib, "oldroot")
	if features != "" {
		d.run("debugfs", "-w", "-R", "feature "+features, img)
	}
	d.place(img, root)
	proto := filepath.Join(d.t.TempDir(), "proto")
	file := filepath.Join(d.t.TempDir(), "file")
	d.must(os.WriteFile(file, bytes.Repeat([]byte("customer data\n"), 10000), 0o644))
	d.must(os.WriteFile(proto, fmt.Appendf(nil, "boot\n0 0\nd--755 0 0\noperator9 d--700 1009 1009\nnotes ---644 1009 1009 %s\n$\n$\n", file), 0o644))
	xfs := filepath.Join(d.t.TempDir(), "home")
	d.run("mkfs.xfs", "-q", "-p", proto, "-d", fmt.Sprintf("file,name=%s,size=%d", xfs, home[0].Len))
	d.place(xfs, home)
	d.old["root"], d.old["home"] = d.hash(root), d.hash(home)
}

// offer makes the new system and its bundle, and stores what prepare stores.
func (d *device) offer() {
	d.t.Helper()
	noise := make([]byte, 3*mib)
	for i, sum := 0, sha256.Sum256(nil); i < len(noise); i += len(sum) {
		sum = sha256.Sum256(sum[:])
		copy(noise[i:], sum[:])
	}
	img := d.ext4(d.tree(map[string]string{
		"etc/hostname": "image-name\n", "etc/os-release": "ID=gateway\nVERSION_ID=2\n", "etc/passwd": newPasswd, "etc/shadow": newShadow, "etc/group": newGroup,
		"boot/vmlinuz": string(noise), "boot/initramfs": "initramfs", "usr/lib/": "", "home/": "", "root/": "",
	}), 24*mib, "newroot")
	key, err := bundle.GenerateKey(bundle.Ed25519)
	d.must(err)
	ring, err := bundle.NewKeyring(1)
	d.must(err)
	d.must(ring.Add(key.Public()))
	abu := filepath.Join(d.t.TempDir(), "new.abu")
	_, err = bundle.Create(context.Background(), abu, bundle.CreateOptions{
		Product: "gw", Version: "2.0.0", Compatible: []string{"gw-x86"}, Level: 1, Keys: []*bundle.PrivateKey{key},
		Images: []bundle.ImageSource{{Name: "rootfs", Path: img, KernelArgs: "quiet"}},
	})
	d.must(err)
	b, err := os.ReadFile(abu)
	d.must(err)
	r, err := bundle.Open(bundle.NewStream(bytes.NewReader(b)), ring)
	d.must(err)
	record, err := (&update.SlotRecord{State: update.RecordWritten, Envelope: r.Envelope(), Keyrings: r.Keyrings()}).Encode()
	d.must(err)
	d.must(d.store().SetRecord(bootctl.RecordKeyring, ring.Marshal()))
	d.must(d.store().SetRecord(bootctl.RecordSlotA, record))
	if d.j.Tier == migrate.Carve {
		d.place(img, partition.DeviceMap{{Disk: d.j.A.Start, Len: d.j.A.Size}})
		return
	}
	d.place(abu, staged)
	text, err := json.Marshal(migrate.StageMap{Bundle: staged, Archive: archive})
	d.must(err)
	sum := sha256.Sum256(text)
	at := migrate.Region{Start: boot.End() - mib, Size: int64(len(text))}
	_, err = d.file.WriteAt(text, at.Start)
	d.must(err)
	d.j.Stage = &migrate.Stage{Map: at, MapSHA256: hex.EncodeToString(sum[:]), BundleSize: int64(len(b))}
}
