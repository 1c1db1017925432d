package oldsystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/images/debian"
)

// What the network of the device is. None of it is in a new system's image.
const (
	Address  = "10.0.2.77"
	Resolver = "10.0.2.3"
	Hostname = "edge-17.customer.example"
	Zone     = "Europe/Vienna"
)

// Logins. Admin has a password and its home directory where the layout has
// /home, Operator only a key.
const (
	Admin    = "admin"
	Operator = "service"
	Password = "Alt-und-gut.7"
)

// Options says what to build.
type Options struct {
	Layout Layout
	// RPM is the path of abupdate's package.
	RPM string
	// Key may log in as Operator and as root, in the form of authorized_keys.
	Key string
	// Data is how many bytes of customers' files lie in /home.
	Data int64
	// Files are further files, by absolute path in the system.
	Files map[string][]byte
}

// Build writes the disk to a new file at out. The packages are installed once
// and kept in cacheDir.
func Build(ctx context.Context, cacheDir string, o Options, out string) (err error) {
	if o.Layout.Name == "" || o.RPM == "" || o.Key == "" {
		return fmt.Errorf("internal error: building an old system with options %+v", o)
	}
	if os.Geteuid() != 0 {
		return errors.New("building an old system needs root, for loop devices and the owners of its files")
	}
	// rpm wants the root of its work from the top.
	if cacheDir, err = filepath.Abs(cacheDir); err != nil {
		return err
	}
	base, err := debian.Install(ctx, cacheDir, "oldsystem", []string{"lvm2", "dmsetup"}, arrangeBoot)
	if err != nil {
		return fmt.Errorf("installing the old system's packages: %w", err)
	}
	work, err := os.MkdirTemp(cacheDir, "oldsystem-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	d := &disk{Layout: o.Layout, path: out, root: filepath.Join(work, "root")}
	defer func() { err = errors.Join(err, d.release(ctx)) }()
	for _, step := range []func() error{
		func() error { return d.partition(ctx) },
		func() error { return d.format(ctx) },
		func() error { return d.mount(ctx) },
		func() error { return debian.Run(ctx, "", "cp", "-a", base+"/.", d.root) },
		func() error {
			return debian.Run(ctx, "", "rpm", "--root", d.root, "--dbpath", "/var/lib/rpm", "--nodeps", "--install", o.RPM)
		},
		func() error { return dress(ctx, d.root, o) },
		func() error { return d.installGRUB(ctx) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("building the old system %s at %s: %w", o.Layout.Name, out, err)
		}
	}
	return nil
}
