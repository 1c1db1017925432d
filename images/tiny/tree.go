package tiny

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/abupdate/abupdate/images/kernel"
	"github.com/abupdate/abupdate/internal/preserve"
)

//go:embed files/initramfs.sh
var initramfsScript []byte

//go:embed files/rc.sh
var rcScript []byte

//go:embed files/control.sh
var controlScript []byte

//go:embed files/decide.sh
var decideScript []byte

//go:embed files/stop.sh
var stopScript []byte

//go:embed files/healthcheck.sh
var healthCheck []byte

//go:embed files/config.toml
var config []byte

//go:embed files/inittab
var inittab []byte

//go:embed files/ifcfg-eth0
var ifcfg []byte

// storageModules are loaded by the initramfs, in this order and before those of
// the filesystem, if the kernel has them as modules; systemModules by the system
// itself.
var (
	storageModules = []string{
		"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
	}
	systemModules = []string{"failover", "net_failover", "virtio_net", "watchdog", "softdog", "i6300esb"}
)

// Modules lists the kernel modules that the appliance uses.
func Modules() []string {
	return slices.Concat(storageModules, Ext4.modules(), XFS.modules(), systemModules)
}

// modules returns those of names that k has, in order.
func modules(k *kernel.Kernel, names []string) (present []string) {
	for _, name := range names {
		if _, err := os.Stat(k.Module(name)); err == nil {
			present = append(present, name)
		}
	}
	return present
}

// epoch is the time stamp of every file.
var epoch = time.Unix(1_700_000_000, 0)

// entry is one regular file of the tree.
type entry struct {
	path string
	mode fs.FileMode
	data []byte
}

func writeTree(root string, o Options) error {
	busybox, err := readBusybox()
	if err != nil {
		return err
	}
	entries, err := regularFiles(o, busybox)
	if err != nil {
		return err
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/lib", "/mnt", "/root"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := e.write(root); err != nil {
			return err
		}
	}
	if err := linkApplets(root); err != nil {
		return err
	}
	if err := listDefaults(root); err != nil {
		return fmt.Errorf("listing the image's defaults: %w", err)
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, epoch, epoch)
	})
}

// listDefaults stores what the image's files are like: devices will tell by it
// what their owners have changed.
func listDefaults(root string) error {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	list, err := preserve.Defaults(preserve.DirTree(dir), []string{"/etc/**"})
	if err != nil {
		return err
	}
	return entry{"/usr/share/abupdate/defaults.json", 0o644, list}.write(root)
}

func (e entry) write(root string) error {
	path := filepath.Join(root, e.path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, e.data, e.mode)
}

func regularFiles(o Options, busybox []byte) ([]entry, error) {
	image, err := os.ReadFile(o.Kernel.Image)
	if err != nil {
		return nil, err
	}
	initramfs, err := makeInitramfs(o.Kernel, busybox, o.Filesystem)
	if err != nil {
		return nil, fmt.Errorf("making the initramfs: %w", err)
	}
	entries := []entry{
		{"/boot/vmlinuz", 0o644, image},
		{"/boot/initramfs", 0o644, initramfs},
		{"/bin/busybox", 0o755, busybox},
		{"/etc/inittab", 0o644, inittab},
		{"/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n")},
		{"/etc/group", 0o644, []byte("root:x:0:\n")},
		{"/etc/os-release", 0o644, osRelease(o.Version)},
		{"/etc/hostname", 0o644, []byte("tiny\n")},
		{"/etc/sysconfig/network-scripts/ifcfg-eth0", 0o644, ifcfg},
		{"/etc/abupdate/config.toml", 0o644, config},
		{"/etc/abupdate/health.d/required/10-tiny", 0o755, healthCheck},
		{"/usr/lib/tiny/rc", 0o755, rcScript},
		{"/usr/lib/tiny/control", 0o755, controlScript},
		{"/usr/lib/tiny/decide", 0o755, decideScript},
		{"/usr/lib/tiny/stop", 0o755, stopScript},
		{VariantFile, 0o644, []byte(o.Variant.String() + "\n")},
	}
	for _, name := range modules(o.Kernel, systemModules) {
		data, err := os.ReadFile(o.Kernel.Module(name))
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{"/usr/lib/tiny/modules/" + name + ".ko", 0o644, data})
	}
	if o.Agent != "" {
		data, err := os.ReadFile(o.Agent)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{"/usr/bin/abupdate", 0o755, data})
	}
	for path, data := range o.Files {
		entries = append(entries, entry{path, 0o644, data})
	}
	return entries, nil
}

func osRelease(version string) []byte {
	return fmt.Appendf(nil, "NAME=\"Tiny Gateway\"\nID=tiny\nID_LIKE=\"centos rhel\"\nVERSION_ID=%s\nPRETTY_NAME=\"Tiny Gateway %s\"\n",
		version, version)
}

// readBusybox returns Debian's static busybox.
func readBusybox() ([]byte, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w (apt-get install busybox-static)", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !isStatic(data) {
		return nil, errors.New(path + " is not static (apt-get install busybox-static)")
	}
	return data, nil
}

// linkApplets makes a link for each of busybox's commands.
func linkApplets(root string) error {
	out, err := exec.Command("busybox", "--list").Output()
	if err != nil {
		return err
	}
	for _, applet := range strings.Fields(string(out)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "sbin"), 0o755); err != nil {
		return err
	}
	return os.Symlink("../bin/busybox", filepath.Join(root, "sbin/init"))
}
