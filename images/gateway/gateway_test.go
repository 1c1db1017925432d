package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/images/debian"
)

func TestDressLooksLikeCentOS(t *testing.T) {
	for release, want := range map[Release]map[string]string{
		EL7: {
			"etc/redhat-release":                       "CentOS Linux release 7",
			"etc/os-release":                           `VERSION_ID="7"`,
			"etc/sysconfig/network-scripts/ifcfg-eth0": "IPADDR=" + Address + "\n",
		},
		EL9: {
			"etc/redhat-release": "CentOS Stream release 9",
			"etc/os-release":     `VERSION_ID="9"`,
			"etc/NetworkManager/system-connections/eth0.nmconnection": "address1=" + Address + "/24\n",
		},
	} {
		t.Run(release.String(), func(t *testing.T) { checkDress(t, release, want) })
	}
}

func checkDress(t *testing.T, release Release, want map[string]string) {
	tree := t.TempDir()
	// Debian's os-release is a link; what it points to must not be written to.
	vendor := filepath.Join(tree, "usr/lib/os-release")
	if err := debian.Write(vendor, []byte("ID=debian\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(tree, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(tree, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	err := dress(tree, Options{
		Version: "1.2.3", Healthy: true, AuthorizedKey: "ssh-ed25519 AAAA", Release: release,
		Files: map[string][]byte{"/etc/abupdate/config.toml": []byte("# ours\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"usr/lib/os-release":        "ID=debian\n",
		"etc/fstab":                 "",
		"etc/gateway/health-exit":   "0\n",
		"etc/abupdate/config.toml":  "# ours\n",
		"root/.ssh/authorized_keys": "ssh-ed25519 AAAA\n",
	} {
		want[path] = text
	}
	for path, text := range want {
		b, err := os.ReadFile(filepath.Join(tree, path))
		if err != nil || !strings.Contains(string(b), text) {
			t.Errorf("%s holds %q, %v; want %q in it", path, b, err, text)
		}
	}
	check, err := os.Stat(filepath.Join(tree, "etc/abupdate/health.d/required/50-gateway"))
	if err != nil || check.Mode().Perm() != 0o755 {
		t.Errorf("the health check: %v, %v; want an executable", check, err)
	}
}

func TestArrangeBootWantsOneKernel(t *testing.T) {
	tree := t.TempDir()
	boot := filepath.Join(tree, "boot")
	if err := os.Mkdir(boot, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vmlinuz-6.1.0-1", "vmlinuz-6.1.0-2", "initrd.img-6.1.0-1"} {
		if err := os.WriteFile(filepath.Join(boot, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := arrangeBoot(tree); err == nil || !strings.Contains(err.Error(), "2 files match") {
		t.Errorf("two kernels: %v", err)
	}
	if err := os.Remove(filepath.Join(boot, "vmlinuz-6.1.0-1")); err != nil {
		t.Fatal(err)
	}
	if err := arrangeBoot(tree); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vmlinuz", "initramfs"} {
		if _, err := os.Lstat(filepath.Join(boot, name)); err != nil {
			t.Error(err)
		}
	}
}
