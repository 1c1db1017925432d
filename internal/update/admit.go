package update

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/klauspost/cpuid/v2"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
)

// admit holds a verified bundle against this device. It writes nothing.
func (u *Updater) admit(b *bundle.Reader, o ApplyOptions) error {
	m := b.Manifest()
	if err := u.admitDevice(m); err != nil {
		return err
	}
	// The epoch is the one ratchet: no flag passes it.
	if epoch := max(u.trust.Epoch, b.Keyring().MinEpoch); m.Epoch < epoch {
		return withHint(fmt.Errorf("%w: the bundle's epoch is %d, and this device accepts %d and later", ErrDowngrade, m.Epoch, epoch),
			"ask the vendor for a current bundle; no option overrides the epoch")
	}
	if err := u.admitVersion(m, o); err != nil {
		return err
	}
	return u.admitImage(m)
}

func (u *Updater) admitDevice(m *bundle.Manifest) error {
	dev := u.trust.Device
	if m.Product != dev.Product {
		return fmt.Errorf("%w: the bundle is for product %q, this device is %q", bundle.ErrIncompatible, m.Product, dev.Product)
	}
	if !slices.Contains(m.Compatible, dev.Compatible) {
		return fmt.Errorf("%w: the bundle is for %s, this device is %q", bundle.ErrIncompatible, strings.Join(m.Compatible, ", "), dev.Compatible)
	}
	if have := cpuid.CPU.X64Level(); u.dev.Live && m.CPULevel > have {
		return fmt.Errorf("%w: the image needs a CPU of level x86-64-v%d, this one has v%d", bundle.ErrIncompatible, m.CPULevel, have)
	}
	if m.MinimumAgent != "" {
		want, err := semver.StrictNewVersion(m.MinimumAgent)
		if err != nil {
			return fmt.Errorf("%w: minimum agent version %q: %w", bundle.ErrFormat, m.MinimumAgent, err)
		}
		have, err := semver.NewVersion(u.o.AgentVersion)
		if err != nil {
			return fmt.Errorf("internal error: agent version %q: %w", u.o.AgentVersion, err)
		}
		if have.LessThan(want) {
			return withHint(fmt.Errorf("%w: the bundle needs abupdate %s, this is %s", bundle.ErrIncompatible, want, have),
				"install a bundle in between first")
		}
	}
	return nil
}

// admitVersion compares with the running slot by semantic versioning, never
// as text.
func (u *Updater) admitVersion(m *bundle.Manifest, o ApplyOptions) error {
	running := u.facts.Slot(u.facts.Running)
	if running.Manifest == nil {
		return nil // nothing known to compare with
	}
	have, err := semver.StrictNewVersion(running.Manifest.Version)
	if err != nil {
		return fmt.Errorf("internal error: the running version %q: %w", running.Manifest.Version, err)
	}
	want, err := semver.StrictNewVersion(m.Version)
	if err != nil {
		return fmt.Errorf("%w: version %q: %w", bundle.ErrFormat, m.Version, err)
	}
	switch {
	case want.LessThan(have) && !o.AllowDowngrade:
		return withHint(fmt.Errorf("%w: the bundle is version %s, and %s is running", ErrDowngrade, want, have),
			"to go back to the other slot: abupdate rollback; to install it all the same: --allow-downgrade")
	case !want.Equal(have) || o.Reinstall:
		return nil
	case sameContent(m, running.Manifest):
		return withHint(fmt.Errorf("%w: version %s is running already", ErrNothing, have), "to install it again: --reinstall")
	}
	return withHint(fmt.Errorf("%w: version %s is running already, with another content; a version is released once", bundle.ErrIncompatible, have),
		"ask the vendor for a bundle with a version of its own; to install this one all the same: --reinstall")
}

func sameContent(a, b *bundle.Manifest) bool {
	x, okX := rootOf(a)
	y, okY := rootOf(b)
	return okX && okY && x.SHA256 == y.SHA256
}

// rootOf returns the image of a manifest that goes into a slot.
func rootOf(m *bundle.Manifest) (bundle.Image, bool) {
	for _, im := range m.Images {
		if im.Name == rootImage {
			return im, true
		}
	}
	return bundle.Image{}, false
}

func (u *Updater) admitImage(m *bundle.Manifest) error {
	im, ok := rootOf(m)
	if !ok {
		return fmt.Errorf("%w: the bundle has no image %q", bundle.ErrIncompatible, rootImage)
	}
	// A file system that the packer did not recognise is left to the trial.
	if im.Filesystem != "" {
		if err := bootctl.CanRead(u.trust.Device.GrubVersion, im.Filesystem, im.FilesystemFeatures); err != nil {
			return withHint(fmt.Errorf("%w: %w", bundle.ErrIncompatible, err),
				"ask the vendor for an image whose file system has only features that this device's boot loader knows")
		}
	}
	p, err := u.dev.partitionOf(u.facts.Target())
	if err != nil {
		return err
	}
	if im.Size > p.Size {
		return withHint(fmt.Errorf("%w: the image has %d bytes, and slot %v has %d", ErrNoFit, im.Size, u.facts.Target(), p.Size),
			"ask the vendor for a smaller image; slots cannot grow")
	}
	return nil
}
