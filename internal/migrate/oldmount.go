package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errNotClean is a file system of the old system that has to be recovered
// before it can be read. It is not ours to write to.
var errNotClean = errors.New("the old system was not shut down cleanly: it starts again, then run: abupdate migrate start")

// oldSystem is the old system's files, mounted read-only with everything at
// its place.
type oldSystem struct{ root *os.Root }

// oldFilesystems are those that the migrator mounts, and the driver for each.
// A FAT, which holds a boot loader only, is not worth another driver.
var oldFilesystems = map[string]string{"ext2": "ext4", "ext3": "ext4", "ext4": "ext4", "xfs": "xfs"}

// withOld mounts the old system read-only, on devices that are read-only for
// the kernel, too, and calls do. When it returns nothing of it is mounted.
func (m *Migrator) withOld(do func(*oldSystem) error) (err error) {
	var undo []func() error
	defer func() {
		for _, f := range slices.Backward(undo) {
			err = errors.Join(err, f())
		}
	}()
	top := filepath.Join(m.Dir, "old")
	if err := os.MkdirAll(top, 0o700); err != nil {
		return err
	}
	old := &oldSystem{}
	for i, v := range m.oldVolumes() {
		name := fmt.Sprintf("abold%d", i)
		node, err := m.Kernel.Map(name, v.Map, true)
		if err != nil {
			return fmt.Errorf("%s of the old system: %w", v.Name, err)
		}
		undo = append(undo, func() error { return m.Kernel.Unmap(name) })
		if i == 0 {
			if v.Mount != "/" {
				return fmt.Errorf("internal error: the journal has no root file system of the old system")
			}
			if err := m.mountOld(node, top, v); err != nil {
				return err
			}
			undo = append(undo, func() error { return m.Kernel.Unmount(top) })
			if old.root, err = os.OpenRoot(top); err != nil {
				return err
			}
			undo = append(undo, old.root.Close)
			continue
		}
		unmount, err := m.mountWithin(old.root, node, v)
		if err != nil {
			return err
		}
		undo = append(undo, unmount)
	}
	if old.root == nil {
		return fmt.Errorf("internal error: the journal has no file system of the old system")
	}
	return do(old)
}

// oldVolumes are those to mount, each behind the one that it is mounted in.
func (m *Migrator) oldVolumes() []OldVolume {
	volumes := slices.DeleteFunc(slices.Clone(m.journal.Old), func(v OldVolume) bool {
		return !filepath.IsAbs(v.Mount) || oldFilesystems[v.Filesystem] == ""
	})
	slices.SortStableFunc(volumes, func(a, b OldVolume) int {
		return cmp.Compare(filepath.Clean(a.Mount), filepath.Clean(b.Mount))
	})
	return volumes
}

func (m *Migrator) mountOld(node, dir string, v OldVolume) error {
	m.Log.Printf("mounting %s of the old system (%s, %s) read-only", v.Mount, v.Name, v.Filesystem)
	err := m.Kernel.Mount(node, dir, oldFilesystems[v.Filesystem], true)
	if errors.Is(err, unix.EROFS) {
		err = fmt.Errorf("%w: %w", errNotClean, err)
	}
	if err != nil {
		return fmt.Errorf("mounting %s of the old system: %w", v.Mount, err)
	}
	return nil
}

// mountWithin mounts a file system at its place in the old root. A link on the
// way there is followed within the old root only.
func (m *Migrator) mountWithin(root *os.Root, node string, v OldVolume) (unmount func() error, err error) {
	dir, err := root.OpenFile(strings.TrimPrefix(filepath.Clean(v.Mount), "/"), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("the mount point %s of the old system: %w", v.Mount, err)
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	if err := m.mountOld(node, path, v); err != nil {
		return nil, err
	}
	return func() error { return m.Kernel.Unmount(path) }, nil
}
