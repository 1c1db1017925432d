package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/partition"
)

// appliance is the disk of a device with two slots, as `abupdate image create`
// makes it, that can be brought back to its first state.
type appliance struct {
	disk   string
	saved  string // everything before slot a: table, boot state
	slots  [2]partition.Part
	before string // image that both slots hold
}

// keys makes the key and the keyring that sign the bundles of a run.
func (b *bench) keys() error {
	if exists(b.path("k.json")) {
		return nil
	}
	if err := b.do(b.agent, "keyring", "create", "--keyring", b.path("k.json")); err != nil {
		return err
	}
	return b.do(b.agent, "keyring", "add", "--keyring", b.path("k.json"), "--generate", b.path("k.pem"))
}

// pack makes a bundle of an input unless it is there already. Its name says
// how it was packed.
func (b *bench) pack(image, version string, args ...string) (path string, err error) {
	if err := b.keys(); err != nil {
		return "", err
	}
	name := image + "-" + version
	for _, a := range args {
		name += filepath.Base(a)
	}
	path = b.path(name + ".abu")
	if exists(path) {
		return path, nil
	}
	_, err = b.measure(b.agent, b.packArgs(image, version, path, args)...)
	return path, err
}

func (b *bench) packArgs(image, version, out string, args []string) []string {
	return append([]string{
		"--quiet", "bundle", "create", "--rootfs", b.image(image), "--product", "bench", "--version", version,
		"--compatible", "bench", "--key", b.path("k.pem"), "--out", out,
	}, args...)
}

// newAppliance makes a device that runs the image before, with the same in
// its other slot.
func (b *bench) newAppliance(name, before string) (*appliance, error) {
	factory, err := b.pack(before, "1.0.0", "--level", "1")
	if err != nil {
		return nil, err
	}
	a := &appliance{disk: b.path(name), saved: b.path(name + ".saved"), before: b.image(before)}
	slotSize, err := size(a.before)
	if err != nil {
		return nil, err
	}
	if err := b.do(b.agent, "image", "create", "--bundle", factory, "--keyring", b.path("k.json"), "--compatible", "bench",
		"--firmware", "bios", "--size", itoa(2*slotSize+(1<<30)), "--slot-size", itoa(slotSize), "--out", a.disk); err != nil {
		return nil, err
	}
	dev, err := blockdev.Open(a.disk, blockdev.Options{})
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	table, err := partition.Read(dev)
	if err != nil {
		return nil, err
	}
	if len(table.Parts) < 3 {
		return nil, fmt.Errorf("%s has %d partitions", a.disk, len(table.Parts))
	}
	copy(a.slots[:], table.Parts[1:3]) // 1 abboot, 2 slot a, 3 slot b
	if err := copyHead(a.disk, a.saved, a.slots[0].Start); err != nil {
		return nil, err
	}
	return a, refill(a.disk, a.slots[0].Start, a.before)
}

// reset gives the boot state of the first day back, and slot b the image that
// slot a holds.
func (a *appliance) reset() error {
	return errors.Join(a.restoreState(), refill(a.disk, a.slots[1].Start, a.before))
}

// restoreState gives only the boot state back.
func (a *appliance) restoreState() error { return copyHead(a.saved, a.disk, a.slots[0].Start) }

// holds checks slot b against an image.
func (a *appliance) holds(image string) error { return same(a.disk, a.slots[1].Start, image) }

// copyHead copies the first n bytes of a file over those of another.
func copyHead(from, to string, n int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.CopyN(out, in, n); err != nil {
		return err
	}
	return errors.Join(out.Sync(), out.Close())
}
