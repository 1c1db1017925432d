package gateway

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// overlays are laid over the installed packages: files/etc/hostname becomes
// /etc/hostname, then what is particular to the release. Scripts end in .sh
// there and not in the image.
//
//go:embed all:files all:el7 all:el9
var overlays embed.FS

// masked are units of Debian that an appliance has no use for, and that cost a
// slow machine seconds.
var masked = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
	"e2scrub_reap.service", "fstrim.timer", "systemd-pcrphase.service", "systemd-pcrphase-sysinit.service",
}

// dress makes the tree look like a CentOS gateway of the given version.
func dress(tree string, o Options) error {
	for _, from := range []string{"files", o.Release.String()} {
		if err := copyOverlay(tree, from); err != nil {
			return err
		}
	}
	answer := "1\n"
	if o.Healthy {
		answer = "0\n"
	}
	files := map[string][]byte{
		"/etc/os-release":            o.Release.osRelease(o.Version),
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
	return links(tree, o.Release)
}

func copyOverlay(tree, from string) error {
	return fs.WalkDir(overlays, from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := overlays.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if filepath.Ext(name) == ".sh" {
			name, mode = name[:len(name)-len(".sh")], 0o755
		}
		if filepath.Ext(name) == ".nmconnection" {
			mode = 0o600
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
func links(tree string, r Release) error {
	units := filepath.Join(tree, "etc/systemd/system")
	want := map[string]string{
		"multi-user.target.wants/gateway-banner.service":  "../gateway-banner.service",
		"multi-user.target.wants/gateway-control.service": "../gateway-control.service",
	}
	switch r {
	case EL7:
		want["multi-user.target.wants/network.service"] = "../network.service"
	case EL9:
		want["multi-user.target.wants/NetworkManager.service"] = "/usr/lib/systemd/system/NetworkManager.service"
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
