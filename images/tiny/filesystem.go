package tiny

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/images/debian"
	"github.com/abupdate/abupdate/images/ext4"
)

// Filesystem is what an image is formatted with.
type Filesystem uint8

// The filesystems of EL systems.
const (
	Ext4 Filesystem = iota + 1
	XFS
)

// String returns the name that mount knows.
func (f Filesystem) String() string {
	switch f {
	case Ext4:
		return "ext4"
	case XFS:
		return "xfs"
	}
	return fmt.Sprintf("tiny.Filesystem(%d)", uint8(f))
}

// Size is enough for an appliance with the agent in it, in bytes. mkfs.xfs makes
// nothing below 300 MB.
func (f Filesystem) Size() int64 {
	if f == XFS {
		return 304 << 20
	}
	return 64 << 20
}

// modules are those that mount it, if the kernel has it not built in.
func (f Filesystem) modules() []string {
	if f == XFS {
		return []string{"crc32c_generic", "libcrc32c", "xfs"}
	}
	return []string{"crc16", "crc32c_generic", "mbcache", "jbd2", "ext4"}
}

const (
	// filesystemUUID is the same in every image on purpose, see the package doc.
	filesystemUUID = "7a1e0000-0000-4000-8000-000000000001"
	// features are those that the GRUB and kernel of EL7 read.
	features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
)

// make makes the image with the files of a directory.
func (f Filesystem) make(ctx context.Context, tree string, size int64, out string) error {
	if f == Ext4 {
		return ext4.Make(ctx, tree, out, size, filesystemUUID, "-O", features, "-m", "1", "-L", "tiny")
	}
	prototype, err := writePrototype(tree)
	if err != nil {
		return err
	}
	defer os.Remove(prototype)
	if err := debian.Run(ctx, "", "truncate", "-s", strconv.FormatInt(size, 10), out); err != nil {
		return err
	}
	return debian.Run(ctx, "", "mkfs.xfs", "-q", "-p", prototype, "-L", "tiny",
		"-m", "crc=1,bigtime=0,inobtcount=0,reflink=0,uuid="+filesystemUUID, "-i", "sparse=0", out)
}

// writePrototype lists a directory in the way that mkfs.xfs takes (mkfs.xfs(8),
// -p): a line for each file, "$" at the end of each directory.
func writePrototype(tree string) (string, error) {
	var b strings.Builder
	b.WriteString("/dev/null\n0 0\nd--755 0 0\n")
	if err := prototypeOf(&b, tree); err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "tiny-xfs-")
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = f.WriteString(b.String())
	return f.Name(), err
}

// prototypeOf writes what is in a directory, and its end.
func prototypeOf(b *strings.Builder, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch mode := info.Mode(); {
		case mode.IsDir():
			fmt.Fprintf(b, "%s d--%03o 0 0\n", e.Name(), mode.Perm())
			err = prototypeOf(b, path)
		case mode.IsRegular():
			fmt.Fprintf(b, "%s ---%03o 0 0 %s\n", e.Name(), mode.Perm(), path)
		case mode&fs.ModeSymlink != 0:
			var target string
			target, err = os.Readlink(path)
			fmt.Fprintf(b, "%s l--777 0 0 %s\n", e.Name(), target)
		default:
			err = fmt.Errorf("internal error: %s is a %v", path, mode)
		}
		if err != nil {
			return err
		}
	}
	b.WriteString("$\n")
	return nil
}
