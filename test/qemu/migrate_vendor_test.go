//go:build qemu

package qemu

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	appliance "github.com/abupdate/abupdate/images/gateway"
	"github.com/abupdate/abupdate/images/oldsystem"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// migrateCompatible is what the bundles for old devices say they fit.
const migrateCompatible = "example-gateway"

// migrateConfig is the device's, and carried into the new system. It shortens
// the time that a failing one gets, by less than gatewayConfig: the first boot
// of a migration comes after the migrator's.
const migrateConfig = "[device]\ncompatible = \"" + migrateCompatible + "\"\n\n[trial]\ndeadline = \"3m\"\n"

// dataDir is where the new systems mount the data partition.
const dataDir = "/data"

// migrateVendor makes what a migration needs: package, keys, bundles, and the
// old devices themselves. Each is made once and kept for all tests.
type migrateVendor struct {
	dir        string
	agent, rpm string
	key        string // private, of the administrator
	server     *httptest.Server

	mu   sync.Mutex
	made map[string]error
}

var theMigrateVendor = sync.OnceValues(func() (*migrateVendor, error) {
	v := &migrateVendor{
		dir: filepath.Join(factoryDir, "migrate"), made: map[string]error{},
		agent: filepath.Join(repo, "build/abupdate"), rpm: filepath.Join(repo, "build/abupdate-0.0.1~qemu-1.x86_64.rpm"),
	}
	v.key = filepath.Join(v.dir, "login")
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return nil, err
	}
	ctx := context.Background()
	for _, c := range [][]string{
		{"make", "-s", "-C", repo, "rpm", "VERSION=v0.0.1-qemu"},
		{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "administrator", "-f", v.key},
		{v.agent, "keyring", "create", "--keyring", "keyring.json"},
		{v.agent, "keyring", "add", "--keyring", "keyring.json", "--generate", "key.pem"},
		{v.agent, "bundle", "boot-image", "--grub-dir", "/usr/lib/grub", "--firmware", "both", "--out", "boot.tar"},
	} {
		if err := v.run(ctx, c...); err != nil {
			return nil, err
		}
	}
	v.server = httptest.NewServer(http.FileServer(http.Dir(v.dir)))
	return v, nil
})

func (v *migrateVendor) run(ctx context.Context, words ...string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = v.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return nil
}

// once makes a file of the vendor's, or returns what came of it before.
func (v *migrateVendor) once(name string, make func(path string) error) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	path := filepath.Join(v.dir, name)
	err, done := v.made[name]
	if !done {
		if err = make(path); err != nil {
			err = fmt.Errorf("making %s: %w", name, err)
		}
		v.made[name] = err
	}
	return path, err
}

func (v *migrateVendor) cache() string { return filepath.Join(repo, "build", "cache") }

func (v *migrateVendor) publicKey() (string, error) {
	b, err := os.ReadFile(v.key + ".pub")
	return strings.TrimSpace(string(b)), err
}

// bundle makes the bundle of a release and returns its address for a guest.
func (v *migrateVendor) bundle(ctx context.Context, version string) (string, error) {
	_, err := v.once(version+".abu", func(path string) error {
		o, known := migrateReleases[version]
		if !known {
			return fmt.Errorf("internal error: no release %s", version)
		}
		key, err := v.publicKey()
		if err != nil {
			return err
		}
		o.Version, o.Release, o.RPM, o.AuthorizedKey = version, appliance.EL7, v.rpm, key
		files := map[string][]byte{
			// EL7's sshd lets root in by password if nothing is said; Debian's does not.
			"/etc/ssh/sshd_config":  []byte("Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\nUsePAM yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n"),
			dataDir + "/.unmounted": nil,
			"/etc/fstab":            []byte("/dev/disk/by-abupdate/data " + dataDir + " auto nofail,x-systemd.device-timeout=1min 0 0\n"),
		}
		for name, data := range o.Files {
			files[name] = data
		}
		o.Files = files
		image := filepath.Join(v.dir, version+".img")
		defer os.Remove(image)
		if err := appliance.Build(ctx, v.cache(), o, image); err != nil {
			return err
		}
		return v.run(ctx, v.agent, "bundle", "create", "--rootfs", image, "--boot", "boot.tar", "--product", "gateway", "--version", version,
			"--compatible", migrateCompatible, "--kernel-args", appliance.KernelArgs, "--key", "key.pem", "--level", "1", "--out", path)
	})
	if err != nil {
		return "", err
	}
	return v.url(version + ".abu")
}

// file is a bundle that has been made.
func (v *migrateVendor) file(version string) string { return filepath.Join(v.dir, version+".abu") }

// url is a guest's address of a file of the vendor's.
func (v *migrateVendor) url(name string) (string, error) {
	_, port, err := net.SplitHostPort(v.server.Listener.Addr().String())
	return fmt.Sprintf("http://%s/%s", net.JoinHostPort(vm.HostAddress, port), name), err
}

// oldDisk makes the disk of a device with a single system.
func (v *migrateVendor) oldDisk(ctx context.Context, l oldsystem.Layout, data int64) (string, error) {
	return v.once(fmt.Sprintf("old-%s-%d-%d.img", l.Name, l.Size(), data), func(path string) error {
		key, err := v.publicKey()
		if err != nil {
			return err
		}
		keyring, err := os.ReadFile(filepath.Join(v.dir, "keyring.json"))
		if err != nil {
			return err
		}
		return oldsystem.Build(ctx, v.cache(), oldsystem.Options{
			Layout: l, RPM: v.rpm, Key: key, Data: data,
			Files: map[string][]byte{
				"/etc/abupdate/keyring.json": keyring,
				"/etc/abupdate/config.toml":  []byte(migrateConfig),
			},
		}, path)
	})
}
