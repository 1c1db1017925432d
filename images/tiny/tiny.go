// Package tiny builds the smallest appliance that abupdate can update: a
// Debian kernel, busybox and the agent in one image, ext4 or XFS.
//
// It stands in for a gateway in the QEMU suites and in the demo. It looks like
// CentOS where abupdate looks (os-release, ifcfg files); it is not one.
//
// Invariant: all images carry the same filesystem UUID, as the two slots of a
// device do, so whatever identifies a slot by UUID or label fails here first.
// Start with Build.
package tiny

import (
	"context"
	"fmt"
	"os"

	"github.com/abupdate/abupdate/images/kernel"
)

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
	// Filesystem of the image; the zero value means Ext4.
	Filesystem Filesystem
	// Size of the image in bytes; 0 means Filesystem.Size.
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
	if o.Filesystem == 0 {
		o.Filesystem = Ext4
	}
	if o.Size == 0 {
		o.Size = o.Filesystem.Size()
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
	if err := o.Filesystem.make(ctx, tree, o.Size, out); err != nil {
		return fmt.Errorf("building the appliance image %s: %w", out, err)
	}
	return nil
}
