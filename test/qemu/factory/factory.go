// Package factory is the vendor of the tiny appliance: it makes keys, bundles
// and gateway disks, with the commands that every vendor uses.
//
// Invariant: what it makes is kept for the life of the Factory and never
// changed; a machine runs on a copy. Start with New.
package factory

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/abupdate/abupdate/images/kernel"
	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

const (
	// Product and Compatible name the appliance in its bundles.
	Product    = "tiny"
	Compatible = "tiny-gateway"

	// A slot has this many bytes more than the image, and a disk these besides
	// its slots.
	slotSpare = 8 << 20
	diskRest  = 368 << 20
)

// Factory makes the parts of the appliance, each once.
type Factory struct {
	// Agent is the path of the abupdate program: for the host and for the
	// images.
	Agent string
	// Filesystem of the images; set before anything is made. New sets ext4.
	Filesystem tiny.Filesystem

	dir    string
	kernel *kernel.Kernel

	mu   sync.Mutex
	made map[string]result
}

type result struct {
	path string
	err  error
}

// New builds the agent from the module at repo and fetches a kernel. Fetched
// things are kept in repo/build; what is made goes to dir.
func New(ctx context.Context, repo, dir string, flavor kernel.Flavor) (*Factory, error) {
	f := &Factory{Agent: filepath.Join(dir, "abupdate"), Filesystem: tiny.Ext4, dir: dir, made: make(map[string]result)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", f.Agent, "./cmd/abupdate")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the agent: %w\n%s", err, out)
	}
	var err error
	f.kernel, err = kernel.Fetch(ctx, filepath.Join(repo, "build", "cache", "kernel"), flavor, tiny.Modules())
	return f, err
}

// once makes the file at name under f.dir, or returns what came of it before.
// The caller holds f.mu.
func (f *Factory) once(name string, make func(path string) error) (string, error) {
	r, ok := f.made[name]
	if !ok {
		r.path = filepath.Join(f.dir, name)
		if r.err = make(r.path); r.err != nil {
			r.err = fmt.Errorf("making %s: %w", name, r.err)
		}
		f.made[name] = r
	}
	return r.path, r.err
}

// Run runs abupdate on the host and returns what it printed.
func (f *Factory) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, f.Agent, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("abupdate %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// keys makes the vendor's keyring and signing key.
func (f *Factory) keys(ctx context.Context) (keyring, key string, err error) {
	key = filepath.Join(f.dir, "key.pem")
	keyring, err = f.once("keyring.json", func(path string) error {
		if _, err := f.Run(ctx, "keyring", "create", "--keyring", path); err != nil {
			return err
		}
		_, err := f.Run(ctx, "keyring", "add", "--keyring", path, "--generate", key)
		return err
	})
	return keyring, key, err
}

// Image returns the root filesystem of a release.
func (f *Factory) Image(ctx context.Context, version string, v tiny.Variant) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.image(ctx, version, v)
}

func (f *Factory) image(ctx context.Context, version string, v tiny.Variant) (string, error) {
	return f.once(fmt.Sprintf("rootfs-%s-%v.img", version, v), func(path string) error {
		return tiny.Build(ctx, tiny.Options{Version: version, Variant: v, Filesystem: f.Filesystem, Kernel: f.kernel, Agent: f.Agent}, path)
	})
}

// Bundle returns the signed bundle of a release, with this host's GRUB.
func (f *Factory) Bundle(ctx context.Context, version string, v tiny.Variant) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bundle(ctx, version, v)
}

func (f *Factory) bundle(ctx context.Context, version string, v tiny.Variant) (string, error) {
	rootfs, err := f.image(ctx, version, v)
	if err != nil {
		return "", err
	}
	_, key, err := f.keys(ctx)
	if err != nil {
		return "", err
	}
	boot, err := f.once("boot.tar", func(path string) error {
		_, err := f.Run(ctx, "bundle", "boot-image", "--grub-dir", "/usr/lib/grub", "--firmware", "both", "--out", path)
		return err
	})
	if err != nil {
		return "", err
	}
	return f.once(fmt.Sprintf("tiny-%s-%v.abu", version, v), func(path string) error {
		_, err := f.Run(ctx, "bundle", "create", "--rootfs", rootfs, "--boot", boot,
			"--product", Product, "--version", version, "--compatible", Compatible, "--kernel-args", tiny.KernelArgs,
			"--key", key, "--level", "3", "--out", path)
		return err
	})
}

// Disk returns a gateway's disk, fresh from the factory: a release in slot a,
// nothing in slot b.
func (f *Factory) Disk(ctx context.Context, fw vm.Firmware, version string, v tiny.Variant) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.disk(ctx, fw, version, v)
}

func (f *Factory) disk(ctx context.Context, fw vm.Firmware, version string, v tiny.Variant) (string, error) {
	bundle, err := f.bundle(ctx, version, v)
	if err != nil {
		return "", err
	}
	keyring, _, err := f.keys(ctx)
	if err != nil {
		return "", err
	}
	slotSize := f.Filesystem.Size() + slotSpare
	return f.once(fmt.Sprintf("gateway-%v-%s-%v.img", fw, version, v), func(path string) error {
		_, err := f.Run(ctx, "image", "create", "--bundle", bundle, "--keyring", keyring, "--compatible", Compatible,
			"--firmware", fw.String(), "--size", fmt.Sprint(2*slotSize+diskRest), "--slot-size", fmt.Sprint(slotSize), "--out", path)
		return err
	})
}

// UpdatedDisk returns a disk with one release in slot a, and a second one
// applied to slot b: its next boot is b's trial.
func (f *Factory) UpdatedDisk(ctx context.Context, fw vm.Firmware, a string, av tiny.Variant, b string, bv tiny.Variant) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh, err := f.disk(ctx, fw, a, av)
	if err != nil {
		return "", err
	}
	bundle, err := f.bundle(ctx, b, bv)
	if err != nil {
		return "", err
	}
	return f.once(fmt.Sprintf("gateway-%v-%s-%v-then-%s-%v.img", fw, a, av, b, bv), func(path string) error {
		if err := vm.CopyDisk(path, fresh); err != nil {
			return err
		}
		_, err := f.Run(ctx, "--disk", path, "apply", bundle)
		return err
	})
}
