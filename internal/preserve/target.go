package preserve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// target is what Apply needs of the new system's file system: each method is
// one step that may fail, or be the last one before a power cut. None follows
// a link as the last element of name; Apply sees to the others.
type target interface {
	Lstat(name string) (Entry, error)
	// Create makes a new file, 0600; one that is there is an error.
	Create(name string) (targetFile, error)
	// Mkdir makes a directory, 0700.
	Mkdir(name string) error
	Symlink(to, name string) error
	// Rename replaces to, unless it is a directory.
	Rename(from, to string) error
	Remove(name string) error
	Chown(name string, uid, gid int) error
	// Chmod is not for links.
	Chmod(name string, mode fs.FileMode) error
	SetXattr(name, attr, value string) error
	// Sync makes a file's, or a directory's, metadata and names durable.
	Sync(name string) error
	// SyncAll makes everything durable.
	SyncAll() error
	// Free is the room that is left, in bytes.
	Free() (int64, error)
}

type targetFile interface {
	io.Writer
	Chown(uid, gid int) error
	Chmod(mode fs.FileMode) error
	SetXattr(attr, value string) error
	Sync() error
	Close() error
}

// rootTarget is a mounted slot. os.Root keeps every step inside it.
type rootTarget struct{ root *os.Root }

func (t rootTarget) Lstat(name string) (Entry, error) {
	return DirTree(t.root).Lstat(name)
}

func (t rootTarget) Create(name string) (targetFile, error) {
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return rootFile{f}, nil
}

func (t rootTarget) Mkdir(name string) error             { return t.root.Mkdir(name, 0o700) }
func (t rootTarget) Symlink(to, name string) error       { return t.root.Symlink(to, name) }
func (t rootTarget) Rename(from, to string) error        { return t.root.Rename(from, to) }
func (t rootTarget) Remove(name string) error            { return t.root.Remove(name) }
func (t rootTarget) Chown(name string, u, g int) error   { return t.root.Lchown(name, u, g) }
func (t rootTarget) Chmod(n string, m fs.FileMode) error { return t.root.Chmod(n, m) }

func (t rootTarget) Sync(name string) error {
	f, err := t.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (t rootTarget) SyncAll() error {
	f, err := t.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func (t rootTarget) Free() (int64, error) {
	f, err := t.root.Open(".")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// SetXattr works on links too: no call takes a descriptor of one, so it goes
// by the directory's descriptor.
func (t rootTarget) SetXattr(name, attr, value string) error {
	dir, err := t.root.OpenFile(path.Dir(name), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	at := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + path.Base(name)
	return xattrError(attr, value, unix.Lsetxattr(at, attr, []byte(value), 0))
}

type rootFile struct{ *os.File }

func (f rootFile) SetXattr(attr, value string) error {
	return xattrError(attr, value, unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0))
}

// xattrError explains a refused attribute. A file system without labels needs
// none; a label that the running policy does not know cannot be set by
// everybody.
func xattrError(attr, value string, err error) error {
	switch {
	case err == nil, attr == xattrLabel && errors.Is(err, unix.ENOTSUP):
		return nil
	case attr == xattrLabel && errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the SELinux policy that runs now does not allow to set the label %q: %w", value, err)
	}
	return fmt.Errorf("setting %s: %w", attr, err)
}
