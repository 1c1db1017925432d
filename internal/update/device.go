package update

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

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

	bootSeq  uint32 // the boot state that this boot was made from; 0: not known
	disk     blockdev.Device
	table    *partition.Table
	nodes    map[int]partitionNode                                                        // by partition number; live only
	mount    func(node, fstype string, readOnly bool, do func(root *os.Root) error) error // withMounted; live only
	writing  bool
	deferred bool // arming is left to the orderly shutdown
	closers  []io.Closer
}

// partitionNode is a partition as the kernel has it.
type partitionNode struct {
	path  string // device node
	start int64  // byte of the disk
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
	file, err := blockdev.Open(path, blockdev.Options{Write: mode == ReadWrite})
	if err != nil {
		return nil, err
	}
	d := &Device{writing: mode == ReadWrite, disk: file, closers: []io.Closer{file}}
	defer d.closeOnError(&err)
	if d.writing {
		l, err := lock(path)
		if err != nil {
			return nil, err
		}
		d.closers = append(d.closers, l)
	}
	if err := d.openOffline(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// notSetUp is the hint for a disk without our state file.
const notSetUp = "this disk was not set up by abupdate: make a factory image (abupdate image create)"

// OnDisk returns the device on a disk that the caller has opened, locks and
// closes, as if the running system had been booted from it in this way. It is
// how tests cut the power at every write of a live update.
func OnDisk(disk blockdev.Device, running slot.ID, why bootctl.Why) (*Device, error) {
	d := &Device{writing: true, deferred: true, disk: disk, Running: running, Why: why}
	off, err := bootctl.Find(disk)
	if err != nil {
		return nil, err
	}
	return d, d.open(off)
}

// openOffline opens a disk that nothing runs from: what would boot next counts
// as running.
func (d *Device) openOffline() error {
	off, err := bootctl.Find(d.disk)
	if err != nil {
		return withHint(err, notSetUp)
	}
	if err := d.open(off); err != nil {
		return err
	}
	next, err := d.next()
	if err != nil {
		return err
	}
	id, ok := next.System.Slot()
	if !ok {
		return withHint(fmt.Errorf("%w: it would boot %v, not a slot", bootctl.ErrBootState, next.System),
			"boot the device and finish its migration first")
	}
	d.Running, d.Why = id, next.Why
	return nil
}

// next returns what GRUB would boot now.
func (d *Device) next() (bootctl.Choice, error) {
	state, _, err := d.Store.State()
	var choice bootctl.Choice
	switch {
	case errors.Is(err, bootctl.ErrBothBroken):
		for _, c := range bootctl.StaticOrder() {
			if choice.System == 0 && d.argsValid()[c.System] {
				choice = c
			}
		}
	case err != nil:
		return choice, err
	default:
		choice = bootctl.Next(state, d.argsValid())
	}
	if choice.System == 0 {
		return choice, withHint(fmt.Errorf("%w: it holds no complete system", bootctl.ErrBootState), "write the factory image anew")
	}
	return choice, nil
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
	for _, c := range slices.Backward(d.closers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// partitionOf returns the partition of a slot.
func (d *Device) partitionOf(id slot.ID) (partition.Part, error) {
	number := d.Store.Layout().APart
	if id == slot.B {
		number = d.Store.Layout().BPart
	}
	if p, ok := d.table.Part(number); ok {
		return p, nil
	}
	return partition.Part{}, fmt.Errorf("%w: slot %v should be partition %d, which the partition table does not have", partition.ErrTable, id, number)
}

// openSlot opens a slot for writing, bounded to its partition. On a running
// machine the partition's own node is claimed, which fails while anything on
// it is mounted.
func (d *Device) openSlot(id slot.ID) (blockdev.Device, func() error, error) {
	if err := d.requireSlots(); err != nil {
		return nil, nil, err
	}
	p, err := d.partitionOf(id)
	if err != nil {
		return nil, nil, err
	}
	// During a migration slot b's place is still full of the old system.
	if one, other, yes := d.table.Overlap(); yes {
		return nil, nil, withHint(fmt.Errorf("%w: partitions %d and %d overlap: a migration is not finished", partition.ErrTable, one.Number, other.Number),
			"finish it: abupdate migrate finish")
	}
	if !d.Live {
		dev, err := blockdev.Section(d.disk, p.Start, p.Size)
		return dev, func() error { return nil }, err
	}
	if id == d.Running {
		return nil, nil, fmt.Errorf("internal error: opening the running slot %v for writing", id)
	}
	known, node := d.nodes[p.Number], d.nodes[p.Number].path
	if node == "" {
		return nil, nil, stale(fmt.Errorf("%w: the kernel does not know slot %v (partition %d) yet", partition.ErrTable, id, p.Number))
	}
	if known.start != p.Start {
		return nil, nil, stale(fmt.Errorf("%w: slot %v begins at byte %d by the partition table and at %d by the kernel", partition.ErrTable, id, p.Start, known.start))
	}
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
		return nil, nil, stale(fmt.Errorf("%w: slot %v is %d bytes by the partition table and %d by the kernel", partition.ErrTable, id, p.Size, dev.Size()))
	}
	return dev, dev.Close, nil
}

// stale is err of a kernel that goes by the table before this one.
func stale(err error) error {
	return withHint(err, "the partition table was changed since this system started: reboot (abupdate reboot), then run the same command again")
}

// requireSlots refuses to touch slot b while a migration is not finished: the
// partition with its number may be one of the old system.
func (d *Device) requireSlots() error {
	state, _, err := d.Store.State()
	if err == nil && state.BKind == bootctl.KindOld {
		return fmt.Errorf("internal error: opening a slot before the migration is finished: %w", ErrMigration)
	}
	return err
}

// Disk is the whole disk.
func (d *Device) Disk() blockdev.Device { return d.disk }

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
