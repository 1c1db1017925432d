// Package gateway builds the realistic appliance of the QEMU suite: Debian with
// systemd and sshd, dressed as a CentOS gateway, with abupdate installed from
// its RPM as on a customer's machine.
//
// It looks like CentOS where abupdate looks (os-release, ifcfg files or
// keyfiles, /boot/grub2); it is not one: kernel, GRUB and userland are
// Debian's, and small scripts bring the network up in place of network-scripts
// (el7/) and NetworkManager (el9/).
//
// Invariant: all images carry the same filesystem UUID, as the two slots of a
// device do. Building needs root. Start with Build.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/abupdate/abupdate/images/debian"
	"github.com/abupdate/abupdate/images/ext4"
)

// DefaultSize is the size of an image. Every byte of it is hashed in software
// emulation, so it is little more than what the files take.
const DefaultSize = 288 << 20

// KernelArgs are the arguments that the appliance's kernel needs besides those
// of grub.cfg: rw because the root filesystem has no entry in fstab, and the
// interface names that CentOS 7 gateways keep.
const KernelArgs = "rw net.ifnames=0 biosdevname=0 console=tty0 console=ttyS0,115200 quiet"

// Address is the gateway's own address, in the network that QEMU's user
// networking gives a guest.
const Address = "10.0.2.15"

// Options says what to build.
type Options struct {
	// Version goes to os-release and to the line that each boot prints.
	Version string
	// Healthy is what the appliance's own health check answers.
	Healthy bool
	// Size of the image; DefaultSize if zero.
	Size int64
	// RPM is the path of abupdate's package.
	RPM string
	// AuthorizedKey may log in as root, in the form of authorized_keys.
	AuthorizedKey string
	// Release is what the image is dressed as.
	Release Release
	// Files are further files, by absolute path in the image.
	Files map[string][]byte
	// Alter, if set, changes the finished tree: owners, accounts.
	Alter func(tree string) error
}

// Build writes the image to a new file at out. The packages are installed once
// and kept in cacheDir.
func Build(ctx context.Context, cacheDir string, o Options, out string) error {
	if o.Version == "" || o.RPM == "" || o.Release == 0 {
		return fmt.Errorf("internal error: building a gateway with options %+v", o)
	}
	if os.Geteuid() != 0 {
		return errors.New("building the gateway appliance needs root, to keep the owners of its files")
	}
	base, err := debian.Install(ctx, cacheDir, "gateway", nil, arrangeBoot)
	if err != nil {
		return fmt.Errorf("installing the gateway's packages: %w", err)
	}
	work, err := os.MkdirTemp(cacheDir, "gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "root")
	for _, step := range []func() error{
		func() error { return debian.Run(ctx, "", "cp", "-a", "--reflink=auto", base, tree) },
		func() error {
			return debian.Run(ctx, "", "rpm", "--root", tree, "--dbpath", "/var/lib/rpm", "--nodeps", "--install", o.RPM)
		},
		func() error { return dress(tree, o) },
		func() error { return alter(tree, o) },
		func() error { return listDefaults(ctx, tree) },
		func() error {
			return ext4.Make(ctx, tree, out, cmp.Or(o.Size, DefaultSize), filesystemUUID, "-O", features, "-m", "1")
		},
	} {
		if err := step(); err != nil {
			return fmt.Errorf("building the gateway image %s: %w", out, err)
		}
	}
	return nil
}

func alter(tree string, o Options) error {
	if o.Alter == nil {
		return nil
	}
	return o.Alter(tree)
}

// listDefaults stores what the image's files are like, last of all: devices
// will tell by it what their owners have changed.
func listDefaults(ctx context.Context, tree string) error {
	list, err := exec.CommandContext(ctx, filepath.Join(tree, "usr/bin/abupdate"), "preserve", "defaults", "--root", tree).Output()
	if err != nil {
		return fmt.Errorf("listing the image's defaults: %w", err)
	}
	return debian.Write(filepath.Join(tree, "usr/share/abupdate/defaults.json"), list, 0o644)
}

const (
	filesystemUUID = "6a7e0000-0000-4000-8000-000000000002"
	// features are those that the GRUB and kernel of EL7 read.
	features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
)
