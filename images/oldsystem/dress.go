package oldsystem

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/images/debian"
)

// overlay is laid over the installed packages: files/etc/hosts becomes
// /etc/hosts. Scripts end in .sh there and not in the system.
//
//go:embed all:files
var overlay embed.FS

// masked are units of Debian that cost a slow machine seconds.
var masked = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "systemd-pcrphase.service", "systemd-pcrphase-sysinit.service", "lvm2-monitor.service",
}

// strange are directories of Debian's package tools: no EL system has them,
// and abupdate would take them for customers' data.
var strange = []string{"var/lib/apt", "var/lib/dpkg", "var/lib/pam", "var/lib/ucf", "var/cache/apt", "var/cache/debconf"}

// dress makes the tree look like a device that has been used for years.
func dress(ctx context.Context, tree string, o Options) error {
	if err := debian.Overlay(overlay, "files", tree); err != nil {
		return err
	}
	for _, dir := range strange {
		if err := os.RemoveAll(filepath.Join(tree, dir)); err != nil {
			return err
		}
	}
	files := map[string][]byte{
		"/etc/os-release":        osRelease(o.Layout.Release),
		"/etc/fstab":             o.Layout.fstab(),
		"/etc/hostname":          []byte(Hostname + "\n"),
		"/etc/oldsystem":         []byte(o.Layout.Name + "\n"),
		"/etc/sysconfig/network": []byte("NETWORKING=yes\nHOSTNAME=" + Hostname + "\n"),
		"/etc/sysconfig/network-scripts/ifcfg-eth0": fmt.Appendf(nil, "DEVICE=eth0\nTYPE=Ethernet\nONBOOT=yes\nBOOTPROTO=none\nIPADDR=%s\nPREFIX=24\nGATEWAY=10.0.2.2\nDNS1=%s\nDOMAIN=customer.example\n", Address, Resolver),
		"/etc/resolv.conf":                          fmt.Appendf(nil, "search customer.example\nnameserver %s\n", Resolver),
		"/root/.ssh/authorized_keys":                []byte(o.Key + "\n"),
		"/srv/reports/2019/first.txt":               []byte("kept since 2019\n"),
		"/opt/vendor/app/settings.ini":              []byte("[app]\nmode = customer\n"),
		"/var/log/messages":                         []byte("Jan  1 00:00:00 edge-17 kernel: a log of years\n"),
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
	for _, step := range []func() error{
		func() error { return os.Remove(filepath.Join(tree, "etc/localtime")) },
		func() error { return os.Symlink("../usr/share/zoneinfo/"+Zone, filepath.Join(tree, "etc/localtime")) },
		func() error { return hostKeys(ctx, tree) },
		func() error { return logins(ctx, tree, o) },
		func() error { return customerData(tree, o.Data) },
		func() error { return links(tree) },
	} {
		if err := step(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// hostKeys gives the device keys of its own, as its first boot did.
func hostKeys(ctx context.Context, tree string) error {
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		key := filepath.Join(tree, "etc/ssh/ssh_host_"+kind+"_key")
		for _, old := range []string{key, key + ".pub"} {
			if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := debian.Run(ctx, "", "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@"+Hostname, "-f", key); err != nil {
			return err
		}
	}
	return nil
}

// logins adds the administrator and the operator, and root's password, by the
// programs that the administrator would have used.
func logins(ctx context.Context, tree string, o Options) error {
	cmd := exec.CommandContext(ctx, "openssl", "passwd", "-6", "-stdin")
	cmd.Stdin = strings.NewReader(Password + "\n")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("openssl passwd: %w", err)
	}
	hash := string(bytes.TrimSpace(out))
	for _, args := range [][]string{
		{"usermod", "-p", hash, "root"},
		{"useradd", "-m", "-s", "/bin/bash", "-u", "1000", "-p", hash, Admin},
		{"useradd", "-m", "-s", "/bin/bash", "-u", "1001", "-p", "*", Operator},
	} {
		if err := debian.Run(ctx, "", "chroot", append([]string{tree}, args...)...); err != nil {
			return err
		}
	}
	keys := filepath.Join(tree, "home", Operator, ".ssh/authorized_keys")
	if err := debian.Write(keys, []byte(o.Key+"\n"), 0o600); err != nil {
		return err
	}
	for _, path := range []string{filepath.Dir(keys), keys} {
		if err := os.Chown(path, 1001, 1001); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Dir(keys), 0o700)
}

// customerData fills the administrator's home directory with content that
// compresses as little as customers' does.
func customerData(tree string, size int64) error {
	const file = 16 * mib
	for n := int64(0); n*file < size; n++ {
		path := filepath.Join(tree, "home", Admin, "archive", fmt.Sprintf("records-%03d.bin", n))
		if err := debian.Write(path, nil, 0o640); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, rand.Reader, min(file, size-n*file))
		if err := errors.Join(err, f.Chown(1000, 1000), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// links enables the system's own units and masks those it has no use for.
func links(tree string) error {
	want := map[string]string{
		"multi-user.target.wants/oldsystem-banner.service":  "../oldsystem-banner.service",
		"multi-user.target.wants/oldsystem-control.service": "../oldsystem-control.service",
		"multi-user.target.wants/network.service":           "../network.service",
	}
	for _, unit := range masked {
		want[unit] = "/dev/null"
	}
	return debian.Units(tree, want)
}

// fstab mounts what the installer has made.
func (l Layout) fstab() []byte {
	var b bytes.Buffer
	for _, v := range l.volumes {
		switch {
		case v.mount == "swap":
			fmt.Fprintf(&b, "%s swap swap defaults 0 0\n", l.spec(v))
		case v.fs == "fat":
			fmt.Fprintf(&b, "%s %s vfat umask=0077,shortname=winnt 0 0\n", l.spec(v), v.mount)
		default:
			kind := strings.TrimRight(v.fs, "79")
			fmt.Fprintf(&b, "%s %s %s defaults 0 0\n", l.spec(v), v.mount, kind)
		}
	}
	return b.Bytes()
}

func osRelease(release string) []byte {
	return fmt.Appendf(nil, `NAME="CentOS Linux"
VERSION="%[1]s (Core)"
ID="centos"
ID_LIKE="rhel fedora"
VERSION_ID="%[1]s"
PRETTY_NAME="CentOS Linux %[1]s (Core)"
`, release)
}
