package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// treeCopier copies customers' data: all that a file system keeps of a file but
// its SELinux label, which the old policy made and the new one makes again.
//
// It follows no link. Both sides are os.Roots, and nobody else is at work on
// either: the old system does not run.
type treeCopier struct {
	from, to *os.Root
	progress func(n int64) // bytes just copied

	links map[inode]string // files with several names: the first one's path
	buf   []byte
}

type inode struct{ dev, ino uint64 }

func newTreeCopier(from, to *os.Root, progress func(int64)) *treeCopier {
	return &treeCopier{from: from, to: to, progress: progress, links: map[inode]string{}, buf: make([]byte, 1<<20)}
}

// tree copies what lies at name, an absolute path, to the same path. The
// directories above it come as they are, without what else is in them.
func (c *treeCopier) tree(ctx context.Context, name string) error {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if name == "" || !fs.ValidPath(name) {
		return fmt.Errorf("internal error: copying the tree %q", name)
	}
	for i, r := range name {
		if r != '/' {
			continue
		}
		if err := c.entry(name[:i]); err != nil {
			return fmt.Errorf("copying /%s: %w", name[:i], err)
		}
	}
	if err := c.walk(ctx, name); err != nil {
		return fmt.Errorf("copying /%s: %w", name, err)
	}
	return nil
}

// walk copies an entry and all that is below it.
func (c *treeCopier) walk(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.entry(name); err != nil {
		return err
	}
	st, err := c.from.Lstat(name)
	if err != nil || !st.IsDir() {
		return err
	}
	dir, err := c.from.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		// In pieces: a mail spool may have a million files.
		list, err := dir.ReadDir(1024)
		for _, e := range list {
			if err := c.walk(ctx, path.Join(name, e.Name())); err != nil {
				return fmt.Errorf("/%s: %w", name, err)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	// Its files have come into it since.
	return c.times(name, st)
}

// entry copies one file, or a directory without its content.
func (c *treeCopier) entry(name string) error {
	info, err := c.from.Lstat(name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := c.stat(name, &st); err != nil {
		return err
	}
	if info.Mode().IsRegular() && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, seen := c.links[id]; seen {
			return c.to.Link(first, name)
		}
		c.links[id] = name
	}
	switch {
	case info.IsDir():
		if err = c.to.Mkdir(name, 0o700); errors.Is(err, fs.ErrExist) {
			err = nil // on the way to another tree
		}
	case info.Mode().IsRegular():
		err = c.file(name)
	case info.Mode()&fs.ModeSymlink != 0:
		return c.symlink(name, &st)
	case info.Mode()&fs.ModeSocket != 0:
		return nil // its program makes it again
	default:
		err = c.special(name, &st)
	}
	if err != nil {
		return err
	}
	return c.dress(name, info, &st)
}

// at calls do with the directory of name on one side, and its last element.
func at(root *os.Root, name string, do func(dir int, base string) error) error {
	dir, err := root.OpenFile(path.Dir(name), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(int(dir.Fd()), path.Base(name))
}

func (c *treeCopier) stat(name string, st *unix.Stat_t) error {
	return at(c.from, name, func(dir int, base string) error {
		return unix.Fstatat(dir, base, st, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (c *treeCopier) symlink(name string, st *unix.Stat_t) error {
	target, err := c.from.Readlink(name)
	if err != nil {
		return err
	}
	if err := c.to.Symlink(target, name); err != nil {
		return err
	}
	if err := c.to.Lchown(name, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return at(c.to, name, func(dir int, base string) error { // os.Root's Chtimes would follow it
		return unix.UtimesNanoAt(dir, base, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// special makes a FIFO or a device node.
func (c *treeCopier) special(name string, st *unix.Stat_t) error {
	return at(c.to, name, func(dir int, base string) error {
		return unix.Mknodat(dir, base, st.Mode, int(st.Rdev))
	})
}

// dress gives an entry owner, mode, attributes and times, in this order: chown
// takes the others away.
func (c *treeCopier) dress(name string, info fs.FileInfo, st *unix.Stat_t) error {
	if err := c.to.Lchown(name, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := c.to.Chmod(name, info.Mode()); err != nil {
		return err
	}
	if info.IsDir() || info.Mode().IsRegular() {
		if err := c.xattrs(name); err != nil {
			return err
		}
	}
	return c.times(name, info)
}

func (c *treeCopier) times(name string, info fs.FileInfo) error {
	return c.to.Chtimes(name, info.ModTime(), info.ModTime())
}

// maxXattr is the most that Linux keeps in one attribute, or in all names.
const maxXattr = 64 << 10

func (c *treeCopier) xattrs(name string) (err error) {
	from, err := c.from.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	names := make([]byte, maxXattr)
	n, err := unix.Flistxattr(int(from.Fd()), names)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	to, err := c.to.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if attr == "security.selinux" || attr == "" {
			continue
		}
		n, err := unix.Fgetxattr(int(from.Fd()), attr, c.buf[:maxXattr])
		if err != nil {
			return fmt.Errorf("reading %s: %w", attr, err)
		}
		if err := unix.Fsetxattr(int(to.Fd()), attr, c.buf[:n], 0); err != nil {
			return fmt.Errorf("setting %s: %w", attr, err)
		}
	}
	return nil
}

// file copies a file's content, without its holes.
func (c *treeCopier) file(name string) (err error) {
	from, err := c.from.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := c.to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	st, err := from.Stat()
	if err != nil {
		return err
	}
	for at := int64(0); at < st.Size(); {
		start, end, err := dataAt(from, at, st.Size())
		if err != nil {
			return err
		}
		if err := c.span(from, to, start, end); err != nil {
			return err
		}
		at = end
	}
	return to.Truncate(st.Size()) // a hole at the end
}

// dataAt returns the next bytes behind at that are no hole.
func dataAt(f *os.File, at, size int64) (start, end int64, err error) {
	start, err = f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil // nothing but a hole
	case errors.Is(err, unix.EINVAL):
		return at, size, nil // a file system that does not tell
	case err != nil:
		return 0, 0, err
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	return start, min(end, size), err
}

func (c *treeCopier) span(from, to *os.File, start, end int64) error {
	for start < end {
		b := c.buf[:min(int64(len(c.buf)), end-start)]
		if _, err := from.ReadAt(b, start); err != nil {
			return err
		}
		if _, err := to.WriteAt(b, start); err != nil {
			return err
		}
		start += int64(len(b))
		c.progress(int64(len(b)))
	}
	return nil
}
