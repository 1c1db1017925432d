package migrate

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/partition"
)

// LiveDisk is the disk of the running machine, for a Finisher.
type LiveDisk struct {
	node      string // "/dev/sda"
	proc, sys string
	disk      blockdev.Device
	espType   string // "vfat"
	blkpg     func(op int32, number int, start, size int64) error
	wait      func() // for who has a partition open for a moment
}

// NewLiveDisk returns the machine's disk, which has been opened by its node.
func NewLiveDisk(node string, disk blockdev.Device) *LiveDisk {
	d := &LiveDisk{node: node, proc: "/proc", sys: "/sys", disk: disk, espType: "vfat", wait: func() { time.Sleep(500 * time.Millisecond) }}
	d.blkpg = d.ioctl
	return d
}

// kernelPart is a partition as the kernel has it.
type kernelPart struct {
	name        string
	number      int
	start, size int64 // bytes
}

func (d *LiveDisk) parts() ([]kernelPart, error) {
	dir := filepath.Join(d.sys, "class/block", filepath.Base(d.node))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the partitions of %s: %w", d.node, err)
	}
	var parts []kernelPart
	for _, e := range entries {
		number, err := sysNumber(filepath.Join(dir, e.Name(), "partition"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		start, startErr := sysNumber(filepath.Join(dir, e.Name(), "start"))
		sectors, sizeErr := sysNumber(filepath.Join(dir, e.Name(), "size"))
		if err := errors.Join(err, startErr, sizeErr); err != nil {
			return nil, err
		}
		parts = append(parts, kernelPart{e.Name(), int(number), start * sector, sectors * sector})
	}
	return parts, nil
}

// sysNumber reads a file of /sys that holds one number.
func sysNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// InUse implements FinishMachine. A volume group that is merely active is no
// hindrance: nobody writes to it, and the kernel forgets it when it starts
// again.
func (d *LiveDisk) InUse(keep []Region) ([]string, error) {
	parts, err := d.parts()
	if err != nil {
		return nil, err
	}
	devices := map[string]string{} // "major:minor" → name
	if err := d.below(filepath.Base(d.node), devices); err != nil {
		return nil, err
	}
	for _, p := range parts {
		if slices.ContainsFunc(keep, func(r Region) bool { return r.Start == p.start && p.size <= r.Size }) {
			continue
		}
		if err := d.below(p.name, devices); err != nil {
			return nil, err
		}
	}
	mounts, err := d.mountPoints(devices)
	if err != nil {
		return nil, err
	}
	used, err := d.swaps(devices)
	for _, at := range slices.Sorted(maps.Keys(mounts)) {
		used = append(used, fmt.Sprintf("%s is mounted at %s", mounts[at], at))
	}
	return used, err
}

// below enters a block device and all that lie on it, by "major:minor".
func (d *LiveDisk) below(name string, devices map[string]string) error {
	dir := filepath.Join(d.sys, "class/block", name)
	b, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	devices[strings.TrimSpace(string(b))] = name
	holders, err := os.ReadDir(filepath.Join(dir, "holders"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	for _, h := range holders {
		if err := d.below(h.Name(), devices); err != nil {
			return err
		}
	}
	return nil
}

// mountPoints returns where the devices are mounted, and which of them is
// there, also where another mount covers it.
func (d *LiveDisk) mountPoints(devices map[string]string) (map[string]string, error) {
	f, err := os.Open(filepath.Join(d.proc, "self/mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found := map[string]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay names its many directories
	for lines.Scan() {
		l := strings.Fields(lines.Text())
		if len(l) < 5 {
			return nil, fmt.Errorf("reading mountinfo: %q is no line of it", clip(lines.Text()))
		}
		if name, ok := devices[l[2]]; ok {
			found[unescape(l[4])] = name
		}
	}
	return found, lines.Err()
}

// swaps tells which of the devices the kernel swaps to.
func (d *LiveDisk) swaps(devices map[string]string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(d.proc, "swaps"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a kernel without swap: none in use, and no error
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		l := strings.Fields(line)
		if len(l) < 2 || l[1] != "partition" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(unescape(l[0]), &st); errors.Is(err, os.ErrNotExist) {
			continue // a node that is gone is none of this disk's
		} else if err != nil {
			return nil, fmt.Errorf("looking at the swap space %s: %w", l[0], err)
		}
		if name, ok := devices[fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))]; ok {
			found = append(found, name+" is swap space")
		}
	}
	return found, nil
}

// repartitionTries is how often the kernel is told the new table while it says
// that a partition is busy, over five seconds: udev opens each that was written
// to, for a moment.
const repartitionTries = 11

// Repartition implements FinishMachine, partition by partition: BLKRRPART
// would want the running slot unmounted.
func (d *LiveDisk) Repartition(t *partition.Table) (seen bool, err error) {
	for try := range repartitionTries {
		if try > 0 {
			d.wait()
		}
		if seen, err = d.tellKernel(t); seen || err != nil {
			break
		}
	}
	return seen, err
}

// tellKernel makes the kernel's partitions those of the table, as far as nobody
// has them open: it returns whether they are all of them. No partition is added
// or grown over another (bdev_add_partition and bdev_resize_partition,
// block/partitions/core.c), so what goes makes room first.
func (d *LiveDisk) tellKernel(t *partition.Table) (bool, error) {
	parts, err := d.parts()
	if err != nil {
		return false, err
	}
	all := true
	try := func(what string, op int32, number int, start, size int64) error {
		err := d.blkpg(op, number, start, size)
		if errors.Is(err, unix.EBUSY) {
			all = false
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s partition %d of %s: %w", what, number, d.node, err)
		}
		return nil
	}
	for _, k := range parts {
		if p, ok := t.Part(k.number); ok && p.Start == k.start {
			continue
		}
		if err := try("removing", unix.BLKPG_DEL_PARTITION, k.number, 0, 0); err != nil {
			return false, err
		}
	}
	for _, k := range parts {
		p, ok := t.Part(k.number)
		if !ok || p.Start != k.start || p.Size == k.size {
			continue
		}
		if err := try("resizing", blkpgResize, k.number, p.Start, p.Size); err != nil {
			return false, err
		}
	}
	if parts, err = d.parts(); err != nil {
		return false, err
	}
	for _, p := range t.Parts {
		if slices.ContainsFunc(parts, func(k kernelPart) bool { return k.number == p.Number }) {
			continue
		}
		if err := try("adding", unix.BLKPG_ADD_PARTITION, p.Number, p.Start, p.Size); err != nil {
			return false, err
		}
	}
	return all, nil
}

// blkpgResize is BLKPG_RESIZE_PARTITION, linux/blkpg.h: since Linux 3.6.
const blkpgResize = 3

func (d *LiveDisk) ioctl(op int32, number int, start, length int64) error {
	f, err := os.Open(d.node)
	if err != nil {
		return err
	}
	defer f.Close()
	p := unix.BlkpgPartition{Start: start, Length: length, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
