//go:build root

package migrate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/provision"
)

// oldMachine is a machine with one system: a disk image with an MBR and one
// partition, mounted by a loop device, and a /proc and /sys made of files.
type oldMachine struct {
	*host
	t       *testing.T
	img     string
	dir     string // mount point
	node    string // loop device
	lba0    []byte // the first sector before anything happened
	free    int64
	unmount func()
}

const (
	release  = "3.10.0-test"
	oldWords = "BOOT_IMAGE=/vmlinuz-3.10.0 root=/dev/sda1 ro console=ttyS0,115200 net.ifnames=0"
)

func newOldMachine(t *testing.T, sizeMiB int64, mkfs ...string) *oldMachine {
	t.Helper()
	m := &oldMachine{t: t, img: filepath.Join(t.TempDir(), "disk"), dir: t.TempDir()}
	must(t, os.WriteFile(m.img, nil, 0o600))
	must(t, os.Truncate(m.img, sizeMiB*mib))
	cmd := exec.Command(tool(t, "sfdisk", "fdisk"), "-q", m.img)
	cmd.Stdin = strings.NewReader("label: dos\nlabel-id: 0x000c0003\nstart=2048,type=83,bootable\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	m.write(bytes.Repeat([]byte{0x0D}, 440), 0)
	m.node = m.attach()
	judge(t, tool(t, mkfs[0], map[string]string{"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs"}[mkfs[0]]), append(mkfs[1:], m.node)...)
	judge(t, tool(t, "mount", "mount"), m.node, m.dir)
	m.unmount = func() { judge(t, tool(t, "umount", "mount"), m.dir); m.unmount = func() {} }
	t.Cleanup(func() { m.unmount() })
	for name, text := range map[string]string{
		"boot/vmlinuz-" + release: strings.Repeat("kernel ", 9999), "boot/initramfs-" + release + ".img": strings.Repeat("initramfs ", 99999),
		"etc/os-release": "PRETTY_NAME=\"CentOS Linux 7 (Core)\"\n", "home/u/file": "data\n",
	} {
		m.file(name, text)
	}
	m.fakeKernel()
	m.lba0 = m.read(0, sector)
	_, m.free, _ = m.statfs("/")
	return m
}

// attach makes a loop device of the partition.
func (m *oldMachine) attach() string {
	losetup := tool(m.t, "losetup", "mount")
	node := strings.TrimSpace(judge(m.t, losetup, "--show", "-f", "-o", "1048576", m.img))
	m.t.Cleanup(func() { judge(m.t, losetup, "-d", node) })
	return node
}

func (m *oldMachine) file(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	must(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(m.t, os.WriteFile(path, []byte(text), 0o600))
}

// fakeKernel makes /proc and /sys.
func (m *oldMachine) fakeKernel() {
	t := m.t
	fake := t.TempDir()
	var st unix.Stat_t
	must(t, unix.Stat(m.node, &st))
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	disk, err := os.Stat(m.img)
	must(t, err)
	block := "sys/devices/pci/block/sda"
	for name, text := range map[string]string{
		"proc/cmdline": oldWords + "\n", "proc/sys/kernel/osrelease": release + "\n", "proc/meminfo": "MemTotal: 1024000 kB\n",
		"proc/self/mountinfo":               fmt.Sprintf("1 0 %s / / rw - ext4 /dev/sda1 rw\n", number),
		block + "/queue/logical_block_size": "512\n", block + "/size": fmt.Sprint(disk.Size() / sector),
		block + "/sda1/partition": "1\n", block + "/sda1/start": "2048\n", block + "/sda1/size": fmt.Sprint(disk.Size()/sector - 2048),
		block + "/sda1/dev": number + "\n",
	} {
		path := filepath.Join(fake, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	for link, to := range map[string]string{"sys/class/block/sda": block, "sys/dev/block/" + number: block + "/sda1"} {
		path := filepath.Join(fake, link)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.Symlink(filepath.Join(fake, to), path))
	}
	translate := func(path string) string {
		if path == "/dev/sda" {
			return m.img
		}
		return path
	}
	m.host = &host{
		root: m.dir, proc: filepath.Join(fake, "proc"), sys: filepath.Join(fake, "sys"), dev: "/dev",
		statfs: func(path string) (int64, int64, error) { return statfs(filepath.Join(m.dir, path)) },
		open:   func(path string) (device, error) { return blockdev.Open(translate(path), blockdev.Options{}) },
		openWrite: func(path string) (device, error) {
			return blockdev.Open(translate(path), blockdev.Options{Write: true})
		},
		cpuLevel: func() int { return 3 },
		lock:     func() (io.Closer, error) { return io.NopCloser(nil), nil },
	}
}

// bootedByUs is the machine after our GRUB has booted a system.
func (m *oldMachine) bootedByUs(s bootctl.System, stateOff int64) {
	m.t.Helper()
	store := m.store(stateOff)
	state, _, err := store.State()
	must(m.t, err)
	words := fmt.Sprintf("%s panic=10 gpt ab.slot=%v ab.why=good ab.seq=%010d ab.state=%d\n", oldWords, s, state.Seq, stateOff/sector)
	must(m.t, os.WriteFile(filepath.Join(m.proc, "cmdline"), []byte(words), 0o600))
}

func (m *oldMachine) disk() *blockdev.File {
	m.t.Helper()
	d, err := blockdev.Open(m.img, blockdev.Options{Write: true})
	must(m.t, err)
	m.t.Cleanup(func() { d.Close() })
	return d
}

func (m *oldMachine) store(off int64) *bootctl.Store {
	m.t.Helper()
	st, err := bootctl.Open(m.disk(), off)
	must(m.t, err)
	return st
}

func (m *oldMachine) read(off, n int64) []byte {
	m.t.Helper()
	f, err := os.Open(m.img)
	must(m.t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, off)
	must(m.t, err)
	return b
}

func (m *oldMachine) write(b []byte, off int64) {
	m.t.Helper()
	f, err := os.OpenFile(m.img, os.O_WRONLY, 0)
	must(m.t, err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	must(m.t, err)
}

// fsck unmounts the old system's file system and has it judged.
func (m *oldMachine) fsck(kind string) {
	m.t.Helper()
	m.unmount()
	switch kind {
	case "xfs":
		judge(m.t, tool(m.t, "xfs_repair", "xfsprogs"), "-n", m.node)
	default:
		judge(m.t, tool(m.t, "e2fsck", "e2fsprogs"), "-fn", m.node)
	}
}

// vendor makes bundles of an image of random bytes.
type vendor struct {
	dir   string
	key   *bundle.PrivateKey
	ring  *bundle.Keyring
	image []byte
}

func newVendor(t *testing.T, size int64) *vendor {
	t.Helper()
	key, err := bundle.GenerateKey(bundle.Ed25519)
	must(t, err)
	ring, err := bundle.NewKeyring(1)
	must(t, err)
	must(t, ring.Add(key.Public()))
	v := &vendor{dir: t.TempDir(), key: key, ring: ring, image: make([]byte, size)}
	rng := rand.New(rand.NewPCG(1, uint64(size)))
	for i := 0; i < len(v.image)/2; i += 8 { // the second half is zeros
		binary.LittleEndian.PutUint64(v.image[i:], rng.Uint64())
	}
	return v
}

func (v *vendor) bundle(t *testing.T, version string) string {
	t.Helper()
	boot, core := make([]byte, sector), make([]byte, 20*sector+3)
	boot[510], boot[511] = 0x55, 0xAA
	binary.LittleEndian.PutUint16(core[coreListSegment:], coreSegment)
	loader := provision.BootImage{
		GrubVersion: "2.06-fake", Commands: bootctl.CommandsLinux,
		BIOS: &provision.BIOSLoader{Boot: boot, Core: core}, EFI: append([]byte("MZ"), core...),
	}
	tar, err := loader.Encode()
	must(t, err)
	rootfs, bootTar, path := filepath.Join(v.dir, "rootfs"), filepath.Join(v.dir, "boot"), filepath.Join(v.dir, version+".abu")
	must(t, os.WriteFile(rootfs, v.image, 0o600))
	must(t, os.WriteFile(bootTar, tar, 0o600))
	_, err = bundle.Create(t.Context(), path, bundle.CreateOptions{
		Product: "gateway", Version: version, Compatible: []string{"gw"}, Epoch: 1,
		Images: []bundle.ImageSource{{Name: rootImage, Path: rootfs, KernelArgs: "quiet"}, {Name: bootImage, Path: bootTar}},
		Keys:   []*bundle.PrivateKey{v.key}, FrameSize: 1 << 20,
	})
	must(t, err)
	return path
}

func (m *oldMachine) options(v *vendor, path string) PrepareOptions {
	m.t.Helper()
	src, err := source.Open(m.t.Context(), path, nil, source.Options{})
	must(m.t, err)
	m.t.Cleanup(func() { src.Close() })
	return PrepareOptions{
		Source: src, Keyring: v.ring, Compatible: "gw", AgentVersion: "1.0.0", SlotSize: 64 * mib,
		Initramfs: func(w io.Writer, _ []string) error {
			_, err := w.Write(bytes.Repeat([]byte("migrator"), 9999))
			return err
		},
		Progress: func(string, int64, int64) {},
		Notice:   func(text string) { m.t.Logf("notice: %s", text) },
	}
}

// checkPrepared judges by the disk what prepare has left.
func (m *oldMachine) checkPrepared(j *Journal, v *vendor) {
	t := m.t
	t.Helper()
	if j.Phase != PhasePrepared || !bytes.Equal(m.read(j.A.Start, int64(len(v.image))), v.image) {
		t.Fatalf("phase %q, or slot a does not hold the image by its disk address", j.Phase)
	}
	if !bytes.Equal(m.read(0, sector), m.lba0) {
		t.Error("the first sector has changed before start")
	}
	boot := filepath.Join(t.TempDir(), "abboot")
	must(t, os.WriteFile(boot, m.read(j.Boot.Start, j.Boot.Size), 0o600))
	judge(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", boot)
	for name, want := range map[string]string{"/old/vmlinuz": strings.Repeat("kernel ", 9999), "/migrator/initramfs": strings.Repeat("migrator", 9999)} {
		out := filepath.Join(t.TempDir(), "out")
		judge(t, tool(t, "debugfs", "e2fsprogs"), "-R", "dump "+name+" "+out, boot)
		if b, err := os.ReadFile(out); err != nil || string(b) != want {
			t.Errorf("%s in abboot: %d bytes, %v", name, len(b), err)
		}
	}
	for _, name := range []string{fileSlotA, fileAbboot} {
		path, err := m.findCarved(name)
		must(t, err)
		if err := os.Remove(path); err == nil {
			t.Errorf("%s could be removed", name)
		}
	}
	if _, free, err := m.statfs("/"); err != nil || free < oldReserve {
		t.Errorf("%d bytes are left free, %v", free, err)
	}
}

// checkClean makes sure that nothing is left of a migration.
func (m *oldMachine) checkClean() {
	m.t.Helper()
	if !bytes.Equal(m.read(0, sector), m.lba0) {
		m.t.Error("the first sector is not what it was")
	}
	if _, err := os.Stat(filepath.Join(m.dir, carvedDir)); err == nil {
		m.t.Error("the directory of the migration is still there")
	}
	// XFS of newer kernels gives space back in the background.
	free, err := int64(0), error(nil)
	for range 100 {
		if _, free, err = m.statfs("/"); err == nil && free >= m.free-mib {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Errorf("%d bytes are free, and %d were, %v", free, m.free, err)
}

var rootFilesystems = map[string][]string{
	"ext4": {"mkfs.ext4", "-q", "-b", "4096"},
	"xfs":  {"mkfs.xfs", "-q", "-f"},
}

// TestMigrationThereAndBack prepares, starts and takes everything back, on a
// real file system: each is judged by what lies at the disk's addresses.
func TestMigrationThereAndBack(t *testing.T) {
	for kind, mkfs := range rootFilesystems {
		t.Run(kind, func(t *testing.T) {
			m, v := newOldMachine(t, 2048, mkfs...), newVendor(t, 40*mib)
			path := v.bundle(t, "2.0.0")
			p, err := m.prepare(t.Context(), m.options(v, path))
			must(t, err)
			j := p.Journal
			m.checkPrepared(j, v)
			if again, err := m.prepare(t.Context(), m.options(v, path)); err != nil || !again.Already {
				t.Fatalf("a second prepare: %+v, %v", again, err)
			}
			if s, err := m.status(); err != nil || s.Phase != string(PhasePrepared) || s.Running != "old" || s.Loader != "old" {
				t.Errorf("status: %+v, %v", s, err)
			}

			if _, err := m.start(startOptions()); err != nil {
				t.Fatal(err)
			}
			table, err := partition.Read(m.disk())
			must(t, err)
			if code := m.read(0, 440); bytes.Equal(code, m.lba0[:440]) || !bytes.Equal(code, j.BootCode) || !sameParts(table, j.Trial) {
				t.Errorf("after the switch: %+v", table)
			}
			state, _, err := m.store(j.StateOff).State()
			must(t, err)
			recorded, err := RecordedJournal(m.store(j.StateOff))
			if err != nil || !state.Migrate || recorded.Phase != PhaseStarted || len(recorded.Undo) != 1 {
				t.Errorf("boot state %+v, journal %+v, %v", state, recorded, err)
			}

			must(t, m.store(j.StateOff).SetState(bootctl.BackToOld(state)))
			m.bootedByUs(bootctl.SystemOld, j.StateOff)
			if s, err := m.status(); err != nil || s.Phase != string(PhaseStarted) || s.Running != "old" || s.Loader != "abupdate" {
				t.Errorf("status: %+v, %v", s, err)
			}
			if done, err := m.abort(); err != nil || done != AbortedReboot {
				t.Fatalf("abort: %v, %v", done, err)
			}
			m.checkClean()
			m.fsck(kind)
		})
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// tool finds a judge's program, also where only root has it in the path.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	t.Fatalf("%s is missing: apt-get install %s", name, pkg)
	return ""
}

func judge(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func isErr(err, want error) bool { return err != nil && errors.Is(err, want) }
