// Package devmapper makes block devices of pieces of a disk, by the ioctls of
// Linux' device-mapper (include/uapi/linux/dm-ioctl.h), as dmsetup does it
// with targets of type linear.
//
// Invariant: a device that Create was told to make read-only is so for the
// kernel, too: a file system on it cannot even replay its journal. Start with
// Create.
package devmapper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// control is where the kernel takes the ioctls; devtmpfs has it once dm_mod is
// there.
const control = "/dev/mapper/control"

// Segment is the sectors [Start, Start+Length) of the disk. A device is its
// segments one behind the other.
type Segment struct{ Start, Length int64 }

// Create makes a device of segments of the disk with the device node disk, and
// returns the path of its own node. An older device of that name goes first.
func Create(name, disk string, segments []Segment, readOnly bool) (node string, err error) {
	node, err = create(name, disk, segments, readOnly)
	if err != nil {
		return "", fmt.Errorf("mapping %s on %s: %w", name, disk, err)
	}
	return node, nil
}

func create(name, disk string, segments []Segment, readOnly bool) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(disk, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", errors.New("not a block device")
	}
	table, err := encodeTable(unix.Major(st.Rdev), unix.Minor(st.Rdev), segments)
	if err != nil {
		return "", err
	}
	ctl, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("this kernel has no device-mapper: %w", err)
	}
	defer ctl.Close()
	if err := remove(ctl, name); err != nil && !errors.Is(err, unix.ENXIO) {
		return "", fmt.Errorf("removing the older device of that name: %w", err)
	}
	flags := uint32(0)
	if readOnly {
		flags = flagReadOnly
	}
	reply, err := call(ctl, cmdCreate, name, request{flags: flags})
	if err != nil {
		return "", fmt.Errorf("creating: %w", err)
	}
	_, err = call(ctl, cmdLoad, name, request{flags: flags, targets: uint32(len(segments)), table: table})
	if err == nil {
		_, err = call(ctl, cmdSuspend, name, request{flags: flags}) // without the flag to suspend: resume
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("loading its table: %w", err), remove(ctl, name))
	}
	dev := binary.NativeEndian.Uint64(reply[offDev:])
	return fmt.Sprintf("/dev/dm-%d", unix.Minor(dev)), nil
}

// Remove removes a device. It fails with EBUSY while the device is in use.
func Remove(name string) error {
	ctl, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("removing the mapping %s: %w", name, err)
	}
	defer ctl.Close()
	if err := remove(ctl, name); err != nil {
		return fmt.Errorf("removing the mapping %s: %w", name, err)
	}
	return nil
}

func remove(ctl *os.File, name string) error {
	_, err := call(ctl, cmdRemove, name, request{})
	return err
}

// checkName refuses what the kernel or udev would mangle.
func checkName(name string) error {
	if name == "" || len(name) >= nameSize || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("name %q", name)
	}
	return nil
}
