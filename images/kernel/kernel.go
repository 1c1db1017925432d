// Package kernel fetches a Debian kernel for the test appliances.
//
// Invariant: the package is the one that apt's signed lists name. It is kept
// in the cache under its SHA-256, so a second run needs no network and a
// damaged download is never used. Start with Fetch.
package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Flavor is one of Debian's kernel builds.
type Flavor uint8

const (
	// Cloud is small and starts fast: virtio, ext4 built in, softdog as module.
	Cloud Flavor = iota + 1
	// Full has every driver, among them the i6300esb watchdog that QEMU
	// emulates; its ext4 is a module.
	Full
)

// metaPackage is the package that always depends on the newest kernel.
func (f Flavor) metaPackage() (string, error) {
	switch f {
	case Cloud:
		return "linux-image-cloud-amd64", nil
	case Full:
		return "linux-image-amd64", nil
	}
	return "", fmt.Errorf("internal error: kernel flavor %d", uint8(f))
}

// Kernel is a fetched kernel.
type Kernel struct {
	// Release is what uname -r will say.
	Release string
	// Image is the path of the bzImage.
	Image string
	// Modules is a directory with the wanted modules, NAME.ko, and nothing else.
	Modules string
}

// Module returns the path of module name in k.
func (k *Kernel) Module(name string) string {
	return filepath.Join(k.Modules, name+".ko")
}

// Fetch downloads the newest kernel of flavor f with apt-get, unless cacheDir
// has it already, and unpacks its image and the named modules. A module that
// the flavor has built in is left out.
func Fetch(ctx context.Context, cacheDir string, f Flavor, modules []string) (*Kernel, error) {
	meta, err := f.metaPackage()
	if err != nil {
		return nil, err
	}
	p, err := resolve(ctx, meta)
	if err != nil {
		return nil, fmt.Errorf("finding the package behind %s: %w", meta, err)
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return nil, err
	}
	deb, err := p.download(ctx, cacheDir)
	if err != nil {
		return nil, fmt.Errorf("downloading %s: %w", p.name, err)
	}
	k, err := unpack(ctx, deb, modules)
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", deb, err)
	}
	return k, nil
}
