package update

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// withMounted mounts the filesystem on a slot's device node and calls do with
// its root. A read-only mount writes nothing, not even a journal replay. When
// withMounted returns nil the filesystem was unmounted cleanly, so GRUB, which
// replays no journal, reads what was written.
//
// The mount lives in a mount namespace of a thread of its own, which ends with
// this call: nobody else sees it, and a killed process leaves none behind that
// would keep the slot busy.
func withMounted(node, fstype string, readOnly bool, do func(root *os.Root) error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread, changed as it is, ends with the goroutine.
		runtime.LockOSThread()
		done <- mountAndDo(node, fstype, readOnly, do)
	}()
	return <-done
}

func mountAndDo(node, fstype string, readOnly bool, do func(root *os.Root) error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	// systemd shares mounts between namespaces; ours must stay ours.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	dir := filepath.Join(runDir, "slot")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	flags, data, err := mountOptions(fstype, readOnly)
	if err != nil {
		return err
	}
	if err := unix.Mount(node, dir, fstype, flags, data); err != nil {
		return fmt.Errorf("mounting %s (%s): %w", node, fstype, err)
	}
	err = doIn(dir, do)
	// Unmounting writes everything, the journal's content at its final place
	// included; a cut before it leaves a slot that is not armed yet.
	if umountErr := unix.Unmount(dir, 0); umountErr != nil {
		err = errors.Join(err, fmt.Errorf("unmounting %s: %w", node, umountErr))
	}
	return err
}

func doIn(dir string, do func(root *os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(root)
}

// mountOptions are those for a slot that nothing runs from. Both slots hold
// the same filesystem UUID, which XFS refuses without nouuid.
func mountOptions(fstype string, readOnly bool) (flags uintptr, data string, err error) {
	flags = unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	switch fstype {
	case "ext4":
		if readOnly {
			data = "noload"
		}
	case "xfs":
		data = "nouuid"
		if readOnly {
			data = "nouuid,norecovery"
		}
	default:
		return 0, "", fmt.Errorf("a slot with the filesystem %q cannot be mounted: ext4 and xfs can", fstype)
	}
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	return flags, data, nil
}
