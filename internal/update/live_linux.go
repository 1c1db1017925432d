package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/atomicfile"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// runDir holds what lives as long as this boot: the lock and the proof that
// our GRUB made it. Only root can write in /run.
const runDir = "/run/abupdate"

// OpenLive opens the machine that this program runs on.
//
// The running slot must be the same by the kernel command line and by the
// root filesystem's device number: writing to a slot by mistake is how other
// updaters have destroyed the running system.
func OpenLive(mode Mode) (_ *Device, err error) {
	d := &Device{Live: true, deferred: true, writing: mode == ReadWrite, nodes: make(map[int]partitionNode), mount: withMounted}
	defer d.closeOnError(&err)
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("opening this machine's disk: %w", os.ErrPermission)
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, fmt.Errorf("reading the kernel command line: %w", err)
	}
	boot, bootErr := bootctl.ParseCmdline(string(cmdline))
	if _, isSlot := boot.System.Slot(); bootErr == nil && !isSlot {
		return nil, oldSystemRuns()
	}
	disk, rootPart, err := rootDisk("/", "/sys")
	if err != nil {
		return nil, err
	}
	file, err := blockdev.Open(disk, blockdev.Options{Write: d.writing})
	if err != nil {
		return nil, err
	}
	d.disk, d.closers = file, []io.Closer{file}
	if err = os.MkdirAll(runDir, 0o700); err != nil {
		return nil, err
	}
	if d.writing {
		if err = d.takeLock(); err != nil {
			return nil, err
		}
	}
	stateOff := boot.StateLBA * blockdev.SectorSize
	if bootErr != nil || stateOff == 0 {
		if stateOff, err = bootctl.Find(d.disk); err != nil {
			return nil, withHint(fmt.Errorf("%s: %w", disk, err), notSetUp)
		}
	}
	if err = d.open(stateOff); err != nil {
		return nil, fmt.Errorf("%s: %w", disk, err)
	}
	if err = partitionNodes(disk, d.nodes); err != nil {
		return nil, err
	}
	return d, d.identify(boot, bootErr, rootPart)
}

// oldSystemRuns refuses the verbs of an A/B device on the system from before
// a migration.
func oldSystemRuns() error {
	return withHint(fmt.Errorf("%w: this is the system from before the migration, and no slot", ErrMigration), "see how far it has come: abupdate migrate status")
}

// identify settles which slot runs and whether our GRUB started it.
func (d *Device) identify(boot bootctl.Cmdline, bootErr error, rootPart int) error {
	switch rootPart {
	case d.Store.Layout().APart:
		d.Running = slot.A
	case d.Store.Layout().BPart:
		if state, _, err := d.Store.State(); err == nil && state.BKind == bootctl.KindOld {
			return oldSystemRuns() // by its own boot loader: slot b will get this number
		}
		d.Running = slot.B
	default:
		return withHint(fmt.Errorf("%w: the root filesystem is on partition %d, which is neither slot", bootctl.ErrBootState, rootPart),
			"boot the device from one of its slots")
	}
	if bootErr != nil {
		d.Foreign = bootErr.Error()
		return nil
	}
	d.Why, d.bootSeq = boot.Why, boot.Seq
	if id, ok := boot.System.Slot(); !ok || id != d.Running {
		d.Foreign = fmt.Sprintf("the kernel command line says system %v, but the root filesystem is slot %v", boot.System, d.Running)
		return nil
	}
	return d.prove(boot)
}

// bootProof is the verdict on this boot, kept for its length: our own later
// writes change the sequence number that it was made with.
type bootProof struct {
	BootID  string `json:"bootID"`
	Foreign string `json:"foreign"`
}

// prove settles, once per boot and before the first write, whether the GRUB
// that booted this system read the boot state that we would write. A second
// boot loader that reads another copy would make every switch a lie.
func (d *Device) prove(boot bootctl.Cmdline) error {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("reading the boot id: %w", err)
	}
	bootID := strings.TrimSpace(string(id))
	path := filepath.Join(runDir, "boot-proof.json")
	var proof bootProof
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &proof) == nil && proof.BootID == bootID {
		d.Foreign = proof.Foreign
		return nil
	}
	proof = bootProof{BootID: bootID}
	state, _, err := d.Store.State()
	switch {
	case boot.Why == bootctl.WhyStatic:
		// Both copies of the boot state were broken, and GRUB said so itself.
	case err != nil:
		return nil // Broken after the boot: nothing to prove it with; the repair says so.
	case boot.Seq != state.Seq:
		proof.Foreign = fmt.Sprintf("this boot was made from boot state %d, but the disk holds %d", boot.Seq, state.Seq)
	}
	b, err := json.Marshal(proof)
	if err != nil {
		return err
	}
	d.Foreign = proof.Foreign
	return atomicfile.Write(path, b, 0o600)
}

func (d *Device) takeLock() error {
	l, err := Lock()
	if err == nil {
		d.closers = append(d.closers, l)
	}
	return err
}

// Lock takes the lock of all that writes to this machine's disk. The kernel
// drops it when the process ends, however it ends.
func Lock() (io.Closer, error) {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(runDir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return lock(path)
}

// rootDisk finds the disk and the partition number under the filesystem at
// path, by its device number.
func rootDisk(path, sys string) (disk string, part int, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", 0, fmt.Errorf("finding the root filesystem's device: %w", err)
	}
	dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	link, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", dev))
	if err != nil {
		return "", 0, withHint(fmt.Errorf("%w: the root filesystem (device %s) is on no disk of its own", bootctl.ErrBootState, dev), notSetUp)
	}
	b, err := os.ReadFile(filepath.Join(link, "partition"))
	if err != nil {
		return "", 0, withHint(fmt.Errorf("%w: the root filesystem is on %s, which is no partition", bootctl.ErrBootState, filepath.Base(link)), notSetUp)
	}
	part, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return "", 0, fmt.Errorf("reading %s/partition: %w", link, err)
	}
	return "/dev/" + filepath.Base(filepath.Dir(link)), part, nil
}

// partitionNodes maps the partition numbers of a disk to what the kernel has for
// them.
func partitionNodes(disk string, nodes map[int]partitionNode) error {
	base := filepath.Join("/sys/class/block", filepath.Base(disk))
	entries, err := os.ReadDir(base)
	if err != nil {
		return fmt.Errorf("listing the partitions of %s: %w", disk, err)
	}
	for _, e := range entries {
		n, err := sysNumber(filepath.Join(base, e.Name(), "partition"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		start, err := sysNumber(filepath.Join(base, e.Name(), "start")) // in 512 bytes, whatever the disk's sectors are
		if err != nil {
			return err
		}
		nodes[int(n)] = partitionNode{"/dev/" + e.Name(), start * 512}
	}
	return nil
}

// sysNumber reads a file of /sys that holds a number.
func sysNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return n, nil
}

// liveFirmware tells what this machine was booted by: the kernel makes
// /sys/firmware/efi only when UEFI started it.
func liveFirmware() string {
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		return "uefi"
	}
	return "bios"
}
