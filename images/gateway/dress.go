package gateway

import (
	"embed"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/images/debian"
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
		if err := debian.Overlay(overlays, from, tree); err != nil {
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
		if err := debian.Write(filepath.Join(tree, path), data, 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(tree, "root/.ssh"), 0o700); err != nil {
		return err
	}
	return links(tree, o.Release)
}

// links enables the appliance's own units and masks those it has no use for.
func links(tree string, r Release) error {
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
	return debian.Units(tree, want)
}
