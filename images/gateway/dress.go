package gateway

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// overlay is laid over the installed packages: files/etc/hostname becomes
// /etc/hostname. Scripts end in .sh there and not in the image.
//
//go:embed all:files
var overlay embed.FS

// masked are units of Debian that an appliance has no use for, and that cost a
// slow machine seconds.
var masked = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
	"e2scrub_reap.service", "fstrim.timer", "systemd-pcrphase.service", "systemd-pcrphase-sysinit.service",
}

// dress makes the tree look like a CentOS 7 gateway of the given version.
func dress(tree string, o Options) error {
	if err := copyOverlay(tree); err != nil {
		return err
	}
	answer := "1\n"
	if o.Healthy {
		answer = "0\n"
	}
	files := map[string][]byte{
		"/etc/os-release":            osRelease(o.Version),
		"/etc/gateway/health-exit":   []byte(answer),
		"/root/.ssh/authorized_keys": []byte(o.AuthorizedKey + "\n"),
		"/etc/fstab":                 nil, // the kernel command line names the root filesystem
	}
	for path, data := range o.Files {
		files[path] = data
	}
	for path, data := range files {
		if err := write(filepath.Join(tree, path), data, 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(tree, "root/.ssh"), 0o700); err != nil {
		return err
	}
	return links(tree)
}

func copyOverlay(tree string) error {
	return fs.WalkDir(overlay, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := overlay.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel("files", path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if filepath.Ext(name) == ".sh" {
			name, mode = name[:len(name)-len(".sh")], 0o755
		}
		return write(filepath.Join(tree, name), data, mode)
	})
}

// write replaces a file, also one that is a link in Debian.
func write(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, data, mode)
}

// links enables the appliance's own units and masks those it has no use for.
func links(tree string) error {
	units := filepath.Join(tree, "etc/systemd/system")
	want := map[string]string{
		"multi-user.target.wants/gateway-banner.service":   "../gateway-banner.service",
		"multi-user.target.wants/gateway-control.service":  "../gateway-control.service",
		"multi-user.target.wants/systemd-networkd.service": "/usr/lib/systemd/system/systemd-networkd.service",
	}
	for _, unit := range masked {
		want[unit] = "/dev/null"
	}
	for name, target := range want {
		path := filepath.Join(units, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func osRelease(version string) []byte {
	return fmt.Appendf(nil, `NAME="CentOS Linux"
VERSION="7 (Core)"
ID="centos"
ID_LIKE="rhel fedora"
VERSION_ID="7"
PRETTY_NAME="Example Gateway %s on CentOS Linux 7 (Core)"
VARIANT_ID="gateway"
BUILD_ID="%s"
`, version, version)
}
