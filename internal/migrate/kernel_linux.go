package migrate

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/devmapper"
	"github.com/abupdate/abupdate/internal/partition"
)

// Linux is the Kernel that the migrator runs on. It reaches everything by
// mapping it on the disk as a whole: so it does not matter which partitions
// the kernel has made of a table that overlaps.
type Linux struct{ Disk string } // the disk's device node

// Map implements Kernel.
func (l Linux) Map(name string, m partition.DeviceMap, readOnly bool) (string, error) {
	segments := make([]devmapper.Segment, len(m))
	at := int64(0)
	for i, r := range m {
		if r.Start != at || r.Disk%sector != 0 || r.Len%sector != 0 {
			return "", fmt.Errorf("internal error: mapping %s: a hole, or no whole sectors, at byte %d", name, at)
		}
		segments[i] = devmapper.Segment{Start: r.Disk / sector, Length: r.Len / sector}
		at = r.End()
	}
	return devmapper.Create(name, l.Disk, segments, readOnly)
}

// Unmap implements Kernel.
func (l Linux) Unmap(name string) error {
	return patiently(func() error { return devmapper.Remove(name) })
}

// Mount implements Kernel. Read-only means without norecovery and noload: on a
// device that is read-only, too, a file system that was not unmounted cleanly
// then fails to mount (EROFS), instead of showing files of the past.
func (l Linux) Mount(node, dir, filesystem string, readOnly bool) error {
	flags, data := uintptr(unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC), ""
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if filesystem == "xfs" {
		data = "nouuid" // slot a and the old system may come from one image
	}
	return unix.Mount(node, dir, filesystem, flags, data)
}

// Unmount implements Kernel.
func (l Linux) Unmount(dir string) error {
	if err := patiently(func() error { return unix.Unmount(dir, 0) }); err != nil {
		return fmt.Errorf("unmounting %s: %w", dir, err)
	}
	return nil
}

// patiently tries again while something is busy: a file system gives its
// device back a moment after it was unmounted.
func patiently(do func() error) error {
	for delay := 10 * time.Millisecond; ; delay *= 2 {
		err := do()
		if !errors.Is(err, unix.EBUSY) || delay > 5*time.Second {
			return err
		}
		time.Sleep(delay)
	}
}
