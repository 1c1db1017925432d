package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/provision"
	"github.com/abupdate/abupdate/internal/update"
)

// bootImage is the name of the image with the boot loader.
const bootImage = "boot"

// offer is what a bundle with verified signatures offers to a device that has
// no state file to judge it by.
type offer struct {
	envelope, keyrings []byte
	keyring            *bundle.Keyring // that the device will trust
	manifest           *bundle.Manifest
	root               bundle.Image
	boot               *provision.BootImage
	size               int64 // of the whole bundle in bytes; -1: not known
}

// readOffer verifies a bundle's head and reads its boot loader; of the system
// it reads no more than there is no way around.
func readOffer(ctx context.Context, o PrepareOptions) (*offer, error) {
	if !o.Source.Rewindable() {
		return nil, fmt.Errorf("%w: a migration reads the bundle twice, and standard input can be read once", update.ErrUsage)
	}
	stream, err := o.Source.Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	b, err := bundle.Open(stream, o.Keyring)
	if err != nil {
		return nil, err
	}
	f := &offer{envelope: b.Envelope(), keyrings: b.Keyrings(), keyring: b.Keyring(), manifest: b.Manifest()}
	if err := f.admit(o); err != nil {
		return nil, err
	}
	for {
		ir, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if ir.Image().Name == bootImage {
			if f.boot, err = provision.ReadBootImage(ctx, ir); err != nil {
				return nil, err
			}
			break
		}
	}
	f.size = o.Source.Size()
	if f.boot == nil {
		return f, nil // the plan refuses
	}
	if f.root.Filesystem != "" {
		if err := bootctl.CanRead(f.boot.GrubVersion, f.root.Filesystem, f.root.FilesystemFeatures); err != nil {
			return nil, fmt.Errorf("%w: %w", bundle.ErrIncompatible, err)
		}
	}
	return f, nil
}

// admit holds the manifest against what the old system says of its device.
func (f *offer) admit(o PrepareOptions) error {
	m := f.manifest
	if o.Compatible == "" {
		return withHint(fmt.Errorf("%w: what kind of device this is was not said", update.ErrUsage),
			fmt.Sprintf("give --compatible, or [device] compatible in the configuration; the bundle is for %s", strings.Join(m.Compatible, ", ")))
	}
	if o.Product != "" && o.Product != m.Product {
		return fmt.Errorf("%w: the bundle is for product %q, this device is %q", bundle.ErrIncompatible, m.Product, o.Product)
	}
	if !slices.Contains(m.Compatible, o.Compatible) {
		return fmt.Errorf("%w: the bundle is for %s, this device is %q", bundle.ErrIncompatible, strings.Join(m.Compatible, ", "), o.Compatible)
	}
	if m.Epoch < f.keyring.MinEpoch {
		return fmt.Errorf("%w: the bundle's epoch is %d, and its keyring asks for %d", update.ErrDowngrade, m.Epoch, f.keyring.MinEpoch)
	}
	if m.MinimumAgent != "" {
		want, err := semver.StrictNewVersion(m.MinimumAgent)
		if err != nil {
			return fmt.Errorf("%w: minimum agent version %q: %w", bundle.ErrFormat, m.MinimumAgent, err)
		}
		have, err := semver.NewVersion(o.AgentVersion)
		if err != nil {
			return fmt.Errorf("internal error: agent version %q: %w", o.AgentVersion, err)
		}
		if have.LessThan(want) {
			return withHint(fmt.Errorf("%w: the bundle needs abupdate %s, this is %s", bundle.ErrIncompatible, want, have), "install a newer abupdate on this system")
		}
	}
	im, ok := m.Image(rootImage)
	if !ok {
		return fmt.Errorf("%w: the bundle has no image %q", bundle.ErrIncompatible, rootImage)
	}
	f.root = im
	if err := (bootctl.Args{Image: im.KernelArgs}).Validate(bootctl.SystemA); err != nil {
		return fmt.Errorf("%w: the image's %w", bundle.ErrIncompatible, err)
	}
	return nil
}

// planned is the bundle as the plan sees it.
func (f *offer) planned() *Bundle { return BundleOf(f.manifest, f.size) }

// BundleOf is what the plan takes from a manifest, given the size of the
// whole bundle; where that is not known (-1) its images count.
func BundleOf(m *bundle.Manifest, size int64) *Bundle {
	b := &Bundle{Product: m.Product, Version: m.Version, CPULevel: m.CPULevel, Compressed: size}
	sum := int64(0)
	for _, im := range m.Images {
		sum += im.CompressedSize + im.BlocksSize
		switch im.Name {
		case rootImage:
			b.ImageSize, b.Filesystem = im.Size, im.Filesystem
		case bootImage:
			b.Boot = true
		}
	}
	if b.Compressed < 0 {
		b.Compressed = sum
	}
	return b
}

// openImage opens the bundle once more, at its system, and makes sure that it
// is the one that was admitted.
func (f *offer) openImage(ctx context.Context, src source.Source) (*bundle.ImageReader, *bundle.Reader, io.Closer, error) {
	stream, err := src.Open(ctx, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	ir, b, err := f.nextRoot(stream)
	if err != nil {
		return nil, nil, nil, errors.Join(err, stream.Close())
	}
	return ir, b, stream, nil
}

func (f *offer) nextRoot(stream bundle.Stream) (*bundle.ImageReader, *bundle.Reader, error) {
	// The keyring that it led to verifies it again.
	b, err := bundle.Open(stream, f.keyring)
	if err != nil {
		return nil, nil, err
	}
	if string(b.Envelope()) != string(f.envelope) {
		return nil, nil, fmt.Errorf("%w: the bundle changed while it was read", bundle.ErrSignature)
	}
	for {
		ir, err := b.Next()
		if err == io.EOF {
			return nil, nil, fmt.Errorf("%w: the bundle has no image %q", bundle.ErrIncompatible, rootImage)
		}
		if err != nil {
			return nil, nil, err
		}
		if ir.Image().Name == rootImage {
			return ir, b, nil
		}
	}
}

// hinted is an error that knows what to do next.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

func withHint(err error, hint string) error { return hinted{err, hint} }
