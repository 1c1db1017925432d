package oldsystem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// suite is the Debian release that stands in for EL.
const suite = "bookworm"

var packages = []string{
	"systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "openssh-server",
	"linux-image-cloud-amd64", "initramfs-tools", "zstd", "lvm2", "dmsetup",
}

// mmdebstrapArgs keep out what an old system does not need to be one.
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
	base := filepath.Join(cacheDir, fmt.Sprintf("oldsystem-base-%x", recipe[:6]))
	switch _, err := os.Stat(base); {
	case err == nil:
		return base, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cacheDir, "oldsystem-base-new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "root")
	if err := run(ctx, "", "mmdebstrap", append(mmdebstrapArgs, suite, tree)...); err != nil {
		return "", err
	}
	if err := arrangeBoot(tree); err != nil {
		return "", err
	}
	// Only a finished tree gets the name: an interrupted run starts again.
	return base, os.Rename(tree, base)
}

// arrangeBoot gives kernel and initramfs the names that they have on EL, and
// takes away Debian's links to them.
func arrangeBoot(tree string) error {
	boot := filepath.Join(tree, "boot")
	kernels, err := filepath.Glob(filepath.Join(boot, "vmlinuz-*"))
	if err != nil {
		return err
	}
	if len(kernels) != 1 {
		return fmt.Errorf("%d kernels in %s, want one", len(kernels), boot)
	}
	release := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if err := os.Rename(filepath.Join(boot, "initrd.img-"+release), filepath.Join(boot, "initramfs-"+release+".img")); err != nil {
		return err
	}
	for _, link := range []string{"vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"} {
		if err := os.Remove(filepath.Join(tree, link)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// kernelRelease returns what uname -r says in the system.
func kernelRelease(tree string) (string, error) {
	kernels, err := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return "", fmt.Errorf("kernels in %s/boot: %v, %w", tree, kernels, err)
	}
	return strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-"), nil
}

// run runs a program of the build host and returns what it said if it failed.
func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w (run tools/need test root qemu gateway)", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
