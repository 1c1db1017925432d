package preserve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dirTree is a Tree of a mounted system.
//
// It opens each component of a path with O_NOFOLLOW, relative to the one
// before, although os.Root would keep links inside the root too: on a running
// system a user who owns a directory may exchange it for a link between a
// check and the open, and so have root's files carried into his own home.
type dirTree struct {
	root   *os.Root
	dev    uint64 // the file system of the root
	mounts bool   // what is mounted below the root belongs to the tree
}

// DirTree is the system below root, with everything that is mounted there.
func DirTree(root *os.Root) Tree { return &dirTree{root: root, mounts: true} }

// SlotTree is the system below root without what is mounted there: of a
// running slot this leaves out /proc and /run, and the data partition, whose
// files stay where they are whichever slot runs. /sys stays in: there the
// network handler finds which interface has which address.
func SlotTree(root *os.Root) (Tree, error) {
	t := &dirTree{root: root, mounts: true}
	st, err := t.stat(".")
	if err != nil {
		return nil, failed("reading the root directory", err)
	}
	return &dirTree{root: root, dev: st.Dev}, nil
}

// of is the tree that a path is looked up in.
func (t *dirTree) of(name string) *dirTree {
	if top, _, _ := strings.Cut(name, "/"); top == "sys" {
		return &dirTree{root: t.root, mounts: true}
	}
	return t
}

// at calls f with the directory that holds name, and name's last element.
func (t *dirTree) at(op, name string, f func(dir int, base string) error) error {
	fail := func(err error) error { return &fs.PathError{Op: op, Path: absolute(name), Err: err} }
	if !fs.ValidPath(name) && !validForeign(name) {
		return fail(fs.ErrInvalid)
	}
	anchor, err := t.root.Open(".")
	if err != nil {
		return fail(err)
	}
	defer anchor.Close()
	dir := int(anchor.Fd())
	for {
		part, rest, more := strings.Cut(name, "/")
		if !more {
			if err := f(dir, part); err != nil {
				return fail(err)
			}
			return nil
		}
		next, err := unix.Openat(dir, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOTDIR) {
			err = unix.ENOENT // a file or a link: below it there is nothing
		}
		if err != nil {
			return fail(err)
		}
		defer unix.Close(next)
		if err := t.sameFilesystem(next); err != nil {
			return fail(err)
		}
		dir, name = next, rest
	}
}

// validForeign is fs.ValidPath for names that are not UTF-8.
func validForeign(name string) bool {
	clean, err := Clean(name)
	return err == nil && clean == name
}

// sameFilesystem makes a mount point look as if nothing were there.
func (t *dirTree) sameFilesystem(fd int) error {
	if t.mounts {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Dev != t.dev {
		return errMounted
	}
	return nil
}

// errMounted is what another file system lies over.
var errMounted = fmt.Errorf("on another file system: %w", fs.ErrNotExist)

func (t *dirTree) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := t.at("lstat", name, func(dir int, base string) error {
		return t.statAt(dir, base, &st)
	})
	return st, err
}

func (t *dirTree) statAt(dir int, base string, st *unix.Stat_t) error {
	if err := unix.Fstatat(dir, base, st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT); err != nil {
		return err
	}
	if !t.mounts && st.Dev != t.dev {
		return errMounted
	}
	return nil
}

func (t *dirTree) Lstat(name string) (Entry, error) {
	t = t.of(name)
	st, err := t.stat(name)
	if err != nil {
		return Entry{}, err
	}
	return statEntry(name, &st), nil
}

func statEntry(name string, st *unix.Stat_t) Entry {
	e := Entry{
		Path: name, Kind: KindOther, Mode: fs.FileMode(st.Mode & 0o777), Size: st.Size,
		UID: int(st.Uid), GID: int(st.Gid), Links: int(st.Nlink),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Kind = KindFile
	case unix.S_IFDIR:
		e.Kind = KindDir
	case unix.S_IFLNK:
		e.Kind = KindSymlink
	}
	for bit, mode := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if st.Mode&bit != 0 {
			e.Mode |= mode
		}
	}
	return e
}

// maxDir bounds a directory: a user may fill his own with millions of names.
const maxDir = 1 << 16

func (t *dirTree) ReadDir(name string) ([]Entry, error) {
	t = t.of(name)
	var list []Entry
	err := t.at("readdir", name, func(dir int, base string) error {
		fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		d := os.NewFile(uintptr(fd), name)
		defer d.Close()
		if err := t.sameFilesystem(fd); err != nil {
			return err
		}
		names, err := d.Readdirnames(maxDir + 1)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(names) > maxDir {
			return fmt.Errorf("more than %d entries", maxDir)
		}
		slices.Sort(names)
		for _, n := range names {
			var st unix.Stat_t
			if err := t.statAt(fd, n, &st); errors.Is(err, fs.ErrNotExist) {
				continue // gone meanwhile, or another file system
			} else if err != nil {
				return err
			}
			list = append(list, statEntry(path.Join(name, n), &st))
		}
		return nil
	})
	return list, err
}

// open opens a file or directory for reading.
func (t *dirTree) open(name string, dir int, base string, dirToo bool) (*os.File, error) {
	var st unix.Stat_t
	if err := t.statAt(dir, base, &st); err != nil {
		return nil, err
	}
	ok := func() bool {
		kind := st.Mode & unix.S_IFMT
		return kind == unix.S_IFREG || dirToo && kind == unix.S_IFDIR
	}
	if !ok() {
		return nil, errNoFile
	}
	// It may have become a FIFO meanwhile, which must not block us.
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), absolute(name))
	if err := unix.Fstat(fd, &st); err != nil || !ok() {
		f.Close()
		return nil, errors.Join(err, errNoFile)
	}
	return f, nil
}

func (t *dirTree) Open(name string) (io.ReadCloser, error) {
	t = t.of(name)
	var f *os.File
	err := t.at("open", name, func(dir int, base string) (err error) {
		f, err = t.open(name, dir, base, false)
		return err
	})
	if err != nil {
		return nil, err // not f: it would be an interface that is not nil
	}
	return f, nil
}

func (t *dirTree) Readlink(name string) (string, error) {
	t = t.of(name)
	var target string
	err := t.at("readlink", name, func(dir int, base string) error {
		buf := make([]byte, maxPath+1)
		n, err := unix.Readlinkat(dir, base, buf)
		if err == nil {
			target = string(buf[:n])
		}
		return err
	})
	return target, err
}

func (t *dirTree) Xattrs(name string) (map[string]string, error) {
	t = t.of(name)
	var attrs map[string]string
	err := t.at("listxattr", name, func(dir int, base string) error {
		var st unix.Stat_t
		if err := t.statAt(dir, base, &st); err != nil {
			return err
		}
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFREG && kind != unix.S_IFDIR {
			attrs = linkXattrs(dir, base)
			return nil
		}
		f, err := t.open(name, dir, base, true)
		if err != nil {
			return err
		}
		defer f.Close()
		attrs, err = readXattrs(int(f.Fd()))
		return err
	})
	return attrs, err
}

// linkXattrs reads the label of a symbolic link: it can have no other
// attribute, and no call takes a descriptor of one. Without /proc it has none.
func linkXattrs(dir int, base string) map[string]string {
	name := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + base
	buf := make([]byte, maxXattr)
	n, err := unix.Lgetxattr(name, xattrLabel, buf)
	if err != nil {
		return nil
	}
	return map[string]string{xattrLabel: string(buf[:n])}
}

// maxXattr is the most that Linux stores in one attribute or in all names.
const maxXattr = 64 << 10

func readXattrs(fd int) (map[string]string, error) {
	buf := make([]byte, maxXattr)
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil // a file system without attributes
	}
	if err != nil {
		return nil, err
	}
	attrs := map[string]string{}
	value := make([]byte, maxXattr)
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			continue // gone, or not ours to read (trusted. without root)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		attrs[name] = string(value[:n])
	}
	return attrs, nil
}

// The extended attributes that matter. Others are not carried.
const (
	xattrLabel      = "security.selinux"
	xattrACL        = "system.posix_acl_access"
	xattrDefaultACL = "system.posix_acl_default"
	xattrCapability = "security.capability"
	xattrUserPrefix = "user."
)
