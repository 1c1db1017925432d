package provision

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// DefaultKernelArgs put the console on the screen and on the first serial
// port. The last one becomes /dev/console; a machine without a serial port
// ignores it.
const DefaultKernelArgs = "console=tty0 console=ttyS0,115200"

// Options say what disk to make.
type Options struct {
	Bundle     bundle.Stream
	Keyring    *bundle.Keyring // the device will trust it
	Compatible string          // the kind of the device: one of the bundle's
	Firmware   Firmware
	Size       int64 // of the disk
	SlotSize   int64
	KernelArgs string // of this device, kept through all updates
	// Grub is called when the bundle brings no boot image.
	Grub func(context.Context) (*BootImage, error)
	// InstalledAt is noted in slot a's record: seconds since 1970, 0: unknown.
	InstalledAt int64
	// Random gives the identifiers; nil is crypto/rand.
	Random   io.Reader
	Progress func(label string, done, total int64) // nil: none
}

// Created tells what was made.
type Created struct {
	Product, Version string
	Table            *partition.Table
	GrubVersion      string
	BIOS, UEFI       bool // what the disk boots on
}

// CreateImage makes the disk image at path. It is sparse, and it is there
// only when it is complete; an image that was there before is replaced then.
func CreateImage(ctx context.Context, path string, o Options) (_ *Created, err error) {
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	b, err := openBundle(o)
	if err != nil {
		return nil, err
	}
	image, _ := b.Manifest().Image(rootImage)
	p, err := newPlan(o.Firmware, o.Size, o.SlotSize, o.Random)
	if err != nil {
		return nil, err
	}
	device := strings.TrimSpace(o.KernelArgs + " " + bootctl.DataArg(p.data.PartUUID, p.data.Start))
	args := bootctl.Args{Device: device, Image: image.KernelArgs}
	if err := args.Validate(bootctl.SystemA); err != nil {
		return nil, fmt.Errorf("%w: %w", update.ErrUsage, err)
	}
	if image.Size > o.SlotSize {
		return nil, hinted{
			fmt.Errorf("%w: the image has %d bytes, the slots have %d", update.ErrNoFit, image.Size, o.SlotSize),
			"choose a larger --slot-size",
		}
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("making %s: %w", path, err)
		}
	}()
	tmp, err := emptyDisk(path, o.Size)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	dev, err := blockdev.Open(tmp, blockdev.Options{Write: true})
	if err != nil {
		return nil, err
	}
	d := &disk{dev: dev, plan: p, o: o, args: args, bundle: b}
	created, err := d.make(ctx)
	if err = errors.Join(err, dev.Close()); err != nil {
		return nil, err
	}
	// COMMIT POINT: the image is complete and durable; the rename shows it.
	if err := os.Rename(tmp, path); err != nil { //nolint:forbidigo // atomicfile's pattern, for a file too large for memory
		return nil, err
	}
	return created, syncDir(filepath.Dir(path))
}

// openBundle checks signatures, product and kind before anything is made.
func openBundle(o Options) (*bundle.Reader, error) {
	b, err := bundle.Open(o.Bundle, o.Keyring)
	if err != nil {
		return nil, err
	}
	m := b.Manifest()
	if !slices.Contains(m.Compatible, o.Compatible) {
		return nil, fmt.Errorf("%w: the bundle is for %s, not for %q", bundle.ErrIncompatible, strings.Join(m.Compatible, ", "), o.Compatible)
	}
	if _, ok := m.Image(rootImage); !ok {
		return nil, fmt.Errorf("%w: the bundle has no image %q", bundle.ErrIncompatible, rootImage)
	}
	if least := b.Keyring().MinEpoch; m.Epoch < least {
		return nil, fmt.Errorf("%w: the bundle's epoch is %d, and its keyring asks for %d", update.ErrDowngrade, m.Epoch, least)
	}
	return b, nil
}

// emptyDisk makes a sparse file of size bytes beside path.
func emptyDisk(path string, size int64) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	err = errors.Join(f.Truncate(size), f.Chmod(0o644), f.Close())
	if err != nil {
		os.Remove(f.Name())
	}
	return f.Name(), err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
