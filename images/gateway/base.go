package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// suite is the Debian release that stands in for EL.
const suite = "bookworm"

var packages = []string{
	"systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "openssh-server",
	"linux-image-cloud-amd64", "initramfs-tools", "zstd",
}

// mmdebstrapArgs keep out what an appliance does not carry.
var mmdebstrapArgs = []string{
	"--quiet", "--mode=root", "--variant=minbase", "--include=" + strings.Join(packages, ","),
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-include=/usr/share/doc/*/copyright",
	`--aptopt=Acquire::Languages "none"`,
	`--customize-hook=rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*`,
	`--customize-hook=rm -rf "$1"/usr/share/perl "$1"/usr/lib/x86_64-linux-gnu/perl "$1"/usr/lib/x86_64-linux-gnu/gconv "$1"/usr/lib/udev/hwdb*`,
}

// installBase returns a directory with the packages installed. It is kept
// under a name made of the recipe: another recipe is another directory.
func installBase(ctx context.Context, cacheDir string) (string, error) {
	recipe := sha256.Sum256([]byte(strings.Join(append(mmdebstrapArgs, suite), "\n")))
	base := filepath.Join(cacheDir, fmt.Sprintf("gateway-base-%x", recipe[:6]))
	switch _, err := os.Stat(base); {
	case err == nil:
		return base, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cacheDir, "gateway-base-new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "root")
	if err := run(ctx, "mmdebstrap", append(mmdebstrapArgs, suite, tree)...); err != nil {
		return "", err
	}
	if err := arrangeBoot(filepath.Join(tree, "boot")); err != nil {
		return "", err
	}
	// Only a finished tree gets the name: an interrupted run starts again.
	return base, os.Rename(tree, base)
}

// arrangeBoot gives kernel and initramfs the two names that GRUB opens, as
// real files.
func arrangeBoot(boot string) error {
	for _, want := range []struct{ pattern, name string }{
		{"vmlinuz-*", "vmlinuz"},
		{"initrd.img-*", "initramfs"},
	} {
		found, err := filepath.Glob(filepath.Join(boot, want.pattern))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%d files match %s/%s, want one", len(found), boot, want.pattern)
		}
		if err := os.Rename(found[0], filepath.Join(boot, want.name)); err != nil {
			return err
		}
	}
	return nil
}
