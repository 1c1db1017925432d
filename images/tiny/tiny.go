// Package tiny builds the smallest appliance that abupdate can update: a
// Debian kernel, busybox and the agent in one ext4 image.
//
// It stands in for a gateway in the QEMU suites and in the demo. It looks like
// CentOS where abupdate looks (os-release, ifcfg files); it is not one.
//
// Invariant: all images carry the same filesystem UUID, as the two slots of a
// device do, so whatever identifies a slot by UUID or label fails here first.
// Start with Build.
package tiny

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/abupdate/abupdate/images/kernel"
)

// DefaultSize is the size of an image with the agent in it.
const DefaultSize = 64 << 20

// KernelArgs are the arguments that the appliance's kernel needs besides
// those of grub.cfg. On a busy host the emulated timer is late, and the kernel
// would panic over it (no_timer_check).
const KernelArgs = "console=tty0 console=ttyS0,115200 quiet no_timer_check"

// Options says what to build.
type Options struct {
	// Version goes to os-release and to the line that each boot prints.
	Version string
	// Variant is how the appliance behaves once its kernel runs.
	Variant Variant
	// Size of the image in bytes; 0 means DefaultSize.
	Size int64
	// Kernel is a kernel fetched with Modules.
	Kernel *kernel.Kernel
	// Agent is the path of a static abupdate binary; empty for none.
	Agent string
	// Files are further files, by absolute path in the image.
	Files map[string][]byte
}

// Build writes the image to a new file at out.
func Build(ctx context.Context, o Options, out string) error {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.Version == "" || !o.Variant.Valid() || o.Kernel == nil || o.Size%4096 != 0 {
		return fmt.Errorf("internal error: building appliance with options %+v", o)
	}
	tree, err := os.MkdirTemp("", "tiny-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if err := writeTree(tree, o); err != nil {
		return fmt.Errorf("staging the appliance: %w", err)
	}
	if err := makeExt4(ctx, tree, o.Size, out); err != nil {
		return fmt.Errorf("building the appliance image %s: %w", out, err)
	}
	return nil
}

const (
	// filesystemUUID is the same in every image on purpose, see the package doc.
	filesystemUUID = "7a1e0000-0000-4000-8000-000000000001"
	// features are those that the GRUB and kernel of EL7 read.
	features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
)

// makeExt4 makes the image with 4 KiB blocks: mke2fs chooses 1 KiB for an
// image of this size, and GRUB then needs seconds more to read the kernel.
func makeExt4(ctx context.Context, tree string, size int64, out string) error {
	f, err := os.OpenFile(out, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", features, "-m", "1",
		"-U", filesystemUUID, "-E", "hash_seed="+filesystemUUID+",root_owner=0:0", "-L", "tiny", "-d", tree, out)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, bytes.TrimSpace(msg))
	}
	return nil
}
