package preserve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is one system's files, read only: a mounted root (DirTree) or a
// capture archive (ReadArchive).
//
// Paths are relative to the system's root, slash-separated and cleaned:
// "etc/passwd", "." for the root. No method follows a symbolic link, in no
// component of the path: a path that leads through one does not exist
// (fs.ErrNotExist). Use Resolve to follow links on purpose.
type Tree interface {
	// Lstat describes the entry itself.
	Lstat(path string) (Entry, error)
	// ReadDir lists a directory, sorted by name.
	ReadDir(path string) ([]Entry, error)
	// Open reads a regular file; anything else is an error, and opening it
	// has no effect (a FIFO does not block, a device is not touched).
	Open(path string) (io.ReadCloser, error)
	// Readlink returns the text of a symbolic link.
	Readlink(path string) (string, error)
	// Xattrs returns the extended attributes, security.selinux included, by name.
	Xattrs(path string) (map[string]string, error)
}

// Kind is what an entry is.
type Kind uint8

// The kinds of entries. Other is a device node, a socket, a FIFO: never
// carried.
const (
	_ Kind = iota
	KindFile
	KindDir
	KindSymlink
	KindOther
)

func (k Kind) String() string {
	switch k {
	case KindFile:
		return "file"
	case KindDir:
		return "directory"
	case KindSymlink:
		return "symbolic link"
	case KindOther:
		return "special file"
	}
	return fmt.Sprintf("invalid kind %d", uint8(k))
}

// Entry describes one file, directory or link of a tree.
type Entry struct {
	Path string // as for the methods of Tree
	Kind Kind
	// Mode is permission bits with fs.ModeSetuid, fs.ModeSetgid, fs.ModeSticky.
	Mode     fs.FileMode
	UID, GID int   // numeric ids of the tree's own system
	Size     int64 // of a file, in bytes
	Links    int   // number of hard links, 0 when not known
}

// Name is the last element of the path.
func (e Entry) Name() string { return path.Base(e.Path) }

// errTooLarge is a file that is longer than its reader's limit.
var errTooLarge = errors.New("file too large")

// maxConfig bounds every configuration file that a handler reads whole. The
// longest in the wild are passwd files of some hundred kilobytes.
const maxConfig = 4 << 20

// ReadFile reads a regular file of at most limit bytes.
func ReadFile(t Tree, name string, limit int64) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading /%s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("reading /%s: %w: more than %d bytes", name, errTooLarge, limit)
	}
	return b, nil
}

// openEntry opens a file and makes sure that it is the one that Lstat saw: a
// user may have put another one in its place, and would get its content with
// the owner of his own.
func openEntry(t Tree, e Entry) (io.ReadCloser, error) {
	f, err := t.Open(e.Path)
	if err != nil {
		return nil, err
	}
	if file, ok := f.(*os.File); ok {
		var st unix.Stat_t
		if err := unix.Fstat(int(file.Fd()), &st); err != nil {
			f.Close()
			return nil, err
		}
		if is := statEntry(e.Path, &st); e.Kind != KindFile || is.UID != e.UID || is.GID != e.GID || is.Mode != e.Mode {
			f.Close()
			return nil, fmt.Errorf("%s: %w", absolute(e.Path), errChanged)
		}
	}
	return f, nil
}

// Exists tells whether there is an entry of that name, whatever it is.
func Exists(t Tree, name string) bool {
	_, err := t.Lstat(name)
	return err == nil
}

// Clean turns an absolute path of a system into a path for Tree: "/etc/x/"
// becomes "etc/x". It refuses what could name something outside the root.
func Clean(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%q: a path has no NUL byte", name)
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%q: .. must not be in a path", name)
		}
	}
	if len(name) > maxPath {
		return "", fmt.Errorf("%.40q…: a path has at most %d bytes", name, maxPath)
	}
	return path.Clean(strings.TrimLeft(path.Clean("/"+name), "/")), nil
}

// maxPath is Linux's PATH_MAX, with its NUL.
const maxPath = 4095

// maxLinks bounds a chain of symbolic links, as Linux does.
const maxLinks = 40

// Resolve follows the symbolic links in name, those in the middle and the
// last one, as the tree's own system would: an absolute link starts at the
// tree's root, and .. at the root stays there. It returns a path without
// links. What the path leads to need not be the system's own file: do not
// resolve names in directories that an unprivileged user may write.
func Resolve(t Tree, name string) (string, error) {
	done, todo := ".", strings.Split(name, "/")
	links := 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		e, err := t.Lstat(next)
		if err != nil {
			return "", err
		}
		if e.Kind != KindSymlink {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("/%s: more than %d symbolic links", name, maxLinks)
		}
		target, err := t.Readlink(next)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(target, "/") {
			done = "."
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, nil
}
