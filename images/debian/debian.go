// Package debian makes the trees that the realistic appliances of the QEMU
// suites are dressed from: packages of Debian, which stands in for EL, with
// files laid over them. Install comes first.
package debian

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
	"slices"
	"strings"
	"sync"
)

// suite is the release that stands in for EL.
const suite = "bookworm"

// packages are in every appliance.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "openssh-server",
	"linux-image-cloud-amd64", "initramfs-tools", "zstd",
}

// modules are the kernel modules that the machines of the suites use. All
// others are left out: they were a third of an image, and each byte of it is
// hashed in software emulation.
var modules = []string{
	"arch/x86/crypto", "crypto", "lib",
	"drivers/block", "drivers/char", "drivers/firmware", "drivers/input", "drivers/md", "drivers/virtio", "drivers/watchdog",
	"drivers/net/net_failover.ko", "drivers/net/virtio_net.ko",
	"fs/autofs", "fs/configfs", "fs/efivarfs", "fs/fat", "fs/fuse", "fs/nls", "fs/pstore", "fs/xfs",
	"net/core", "net/ipv6", "net/packet",
}

// arguments keep out what no appliance carries.
func arguments(more []string) []string {
	args := []string{
		"--quiet", "--mode=root", "--variant=minbase", "--include=" + strings.Join(slices.Concat(packages, more), ","),
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		`--aptopt=Acquire::Languages "none"`,
		`--customize-hook=rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*`,
		`--customize-hook=rm -rf "$1"/usr/share/perl "$1"/usr/lib/x86_64-linux-gnu/perl "$1"/usr/lib/x86_64-linux-gnu/gconv "$1"/usr/lib/udev/hwdb*`,
		"--dpkgopt=path-exclude=/lib/modules/*/kernel/*",
	}
	for _, m := range modules {
		args = append(args, "--dpkgopt=path-include=/lib/modules/*/kernel/"+m+"*")
	}
	return args
}

// installing lets tests that run at once install the same packages once.
var installing sync.Mutex

// Install returns a directory in cacheDir with the packages of every appliance
// and those of more installed, and arranged by the given function. It is kept
// under name and a hash of the recipe: another recipe is another directory.
// Needs root.
func Install(ctx context.Context, cacheDir, name string, more []string, arrange func(tree string) error) (string, error) {
	installing.Lock()
	defer installing.Unlock()
	args := append(arguments(more), suite)
	recipe := sha256.Sum256([]byte(strings.Join(args, "\n")))
	base := filepath.Join(cacheDir, fmt.Sprintf("%s-base-%x", name, recipe[:6]))
	switch _, err := os.Stat(base); {
	case err == nil:
		return base, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cacheDir, name+"-base-new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "root")
	// In a mount namespace of its own: on a busy host mmdebstrap has left /proc
	// mounted in the tree, and copies of it then were copies of /proc.
	if err := Run(ctx, "", "unshare", slices.Concat([]string{"--mount", "mmdebstrap"}, args, []string{tree})...); err != nil {
		return "", err
	}
	if err := arrange(tree); err != nil {
		return "", err
	}
	// Only a finished tree gets the name: an interrupted run starts again.
	return base, os.Rename(tree, base)
}

// Run runs a program of the build host and returns what it said if it failed.
func Run(ctx context.Context, stdin, name string, args ...string) error {
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
