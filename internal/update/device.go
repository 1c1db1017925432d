package update

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

// Device is the A/B device that a command works on: this machine (OpenLive)
// or a disk image (OpenImage). It holds the lock until Close.
type Device struct {
	Store *bootctl.Store
	// Live: this is the running machine, and Running and Why are facts of its
	// kernel; else they are what GRUB would boot next.
	Live    bool
	Running slot.ID
	Why     bootctl.Why
	// Foreign says why this boot was not made by our GRUB with our boot state;
	// empty when it was.
	Foreign string

	disk    *blockdev.File
	table   *partition.Table
	nodes   map[int]string // partition number → device node; live only
	writing bool
	lock    *os.File
}

// Mode says what a command does with the device.
type Mode uint8

// The modes. A device opened for reading can be looked at while another
// command writes.
const (
	ReadOnly Mode = iota + 1
	ReadWrite
)

// OpenImage opens the disk image at path. The slot that would boot next
// counts as the running one.
func OpenImage(path string, mode Mode) (_ *Device, err error) {
	if st, err := os.Stat(path); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: --disk takes a disk image, and %s is no regular file", ErrUsage, path)
	}
	d := &Device{writing: mode == ReadWrite}
	defer d.closeOnError(&err)
	if d.disk, err = blockdev.Open(path, blockdev.Options{Write: d.writing}); err != nil {
		return nil, err
	}
	if d.writing {
		if d.lock, err = lock(path); err != nil {
			return nil, err
		}
	}
	off, err := bootctl.Find(d.disk)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err = d.open(off); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	state, _, err := d.Store.State()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	next := bootctl.Next(state, d.argsValid())
	id, ok := next.System.Slot()
	if !ok {
		return nil, withHint(fmt.Errorf("%s: %w: it would boot %v, not a slot", path, bootctl.ErrBootState, next.System),
			"boot the device and finish its migration first")
	}
	d.Running, d.Why = id, next.Why
	return d, nil
}

// open reads what lies on the disk, given the state file's offset in bytes.
func (d *Device) open(stateOff int64) (err error) {
	if d.Store, err = bootctl.Open(d.disk, stateOff); err != nil {
		return err
	}
	d.table, err = partition.Read(d.disk)
	return err
}

func (d *Device) closeOnError(err *error) {
	if *err != nil {
		d.Close()
	}
}

// Close gives up the lock and the disk.
func (d *Device) Close() error {
	var errs []error
	if d.disk != nil {
		errs = append(errs, d.disk.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// partitionOf returns the partition of a slot.
func (d *Device) partitionOf(id slot.ID) (partition.Part, error) {
	number := d.Store.Layout().APart
	if id == slot.B {
		number = d.Store.Layout().BPart
	}
	for _, p := range d.table.Parts {
		if p.Number == number {
			return p, nil
		}
	}
	return partition.Part{}, fmt.Errorf("%w: slot %v should be partition %d, which the partition table does not have", partition.ErrTable, id, number)
}

// openSlot opens a slot for writing, bounded to its partition. On a running
// machine the partition's own node is claimed, which fails while anything on
// it is mounted.
func (d *Device) openSlot(id slot.ID) (blockdev.Device, func() error, error) {
	p, err := d.partitionOf(id)
	if err != nil {
		return nil, nil, err
	}
	if !d.Live {
		dev, err := blockdev.Section(d.disk, p.Start, p.Size)
		return dev, func() error { return nil }, err
	}
	if id == d.Running {
		return nil, nil, fmt.Errorf("internal error: opening the running slot %v for writing", id)
	}
	node := d.nodes[p.Number]
	dev, err := blockdev.Open(node, blockdev.Options{Write: true, Exclusive: true})
	if errors.Is(err, unix.EBUSY) {
		return nil, nil, withHint(fmt.Errorf("%w: slot %v (%s) is in use: %w", ErrWrite, id, node, err),
			"something has mounted it: find it with  grep "+filepath.Base(node)+" /proc/mounts, unmount it, and run the same command again")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: opening slot %v: %w", ErrWrite, id, err)
	}
	if dev.Size() != p.Size {
		dev.Close()
		return nil, nil, fmt.Errorf("%w: slot %v is %d bytes by the partition table and %d by the kernel: reboot first", partition.ErrTable, id, p.Size, dev.Size())
	}
	return dev, dev.Close, nil
}

// argsValid tells which systems have a valid args block.
func (d *Device) argsValid() map[bootctl.System]bool {
	valid := make(map[bootctl.System]bool)
	for _, s := range bootctl.Systems {
		_, err := d.Store.Args(s)
		valid[s] = err == nil
	}
	return valid
}

// lock takes the one lock of all writers. The kernel drops it when the
// process ends, however it ends.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, withHint(ErrLocked, "wait until it is done; see: abupdate status")
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}
