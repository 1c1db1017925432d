package update

import (
	"fmt"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// Choice is what a device takes of the files of a channel.
type Choice struct {
	Version string
	Bundle  string        // the whole bundle's file
	Delta   string        // the delta from what runs here; empty: there is none
	Payload bundle.Digest // for ApplyOptions
}

// Choose verifies a channel.json and chooses what costs the least to fetch. It
// is ErrNothing when the channel has no news for this device.
//
// A channel is never a reason to refuse what runs or what is newer: one that is
// out of date is said to be so, and that is all.
func (u *Updater) Choose(channel []byte, o ApplyOptions) (Choice, error) {
	c, err := bundle.VerifyChannel(channel, u.trust.Keyring)
	if err != nil {
		return Choice{}, err
	}
	if want := u.trust.Device.Product; c.Product != want {
		return Choice{}, fmt.Errorf("%w: the channel is for product %q, this device is %q", bundle.ErrIncompatible, c.Product, want)
	}
	u.alarm(c)
	return choose(u.facts, c, o)
}

// clockSet is a year that a device without a clock does not reach.
const clockSet = 2025

// alarm says when the vendor should have signed the channel anew: whoever
// serves it may be holding a newer one back.
func (u *Updater) alarm(c *bundle.Channel) {
	now := u.o.Now()
	if c.StaleAfter == 0 || now.Year() < clockSet || now.Unix() <= int64(c.StaleAfter) {
		return
	}
	u.o.Notice("the channel is stale: it names version %s, and the vendor meant to sign it anew before %s. A newer release may be kept from this device",
		c.Version, time.Unix(int64(c.StaleAfter), 0).UTC().Format(time.DateOnly))
}

// choose compares a verified channel with what is on the device.
func choose(f *Facts, c *bundle.Channel, o ApplyOptions) (Choice, error) {
	choice := Choice{Version: c.Version, Bundle: c.Bundle.Path, Payload: c.Manifest}
	running := f.Slot(f.Running).Manifest
	if running == nil {
		return choice, nil // nothing known to compare with
	}
	if err := newer(running.Version, c.Version, o); err != nil {
		return Choice{}, err
	}
	// Or each run of a timer would put a device through the same failure.
	if target := f.Slot(f.Target()); target.Manifest != nil && target.Manifest.Version == c.Version && f.failed(f.Target()) && !o.Reinstall {
		return Choice{}, withHint(fmt.Errorf("%w: version %s, the channel's latest, was tried on this device and did not hold", ErrNothing, c.Version),
			"see why: abupdate history; to try it again: --reinstall")
	}
	root, ok := rootOf(running)
	best := c.Bundle.Size
	for _, d := range c.Deltas {
		if ok && d.From == root.SHA256 && d.Size < best {
			choice.Delta, best = d.Path, d.Size
		}
	}
	return choice, nil
}

// newer is nil when an apply would accept the latest version over the running
// one.
func newer(running, latest string, o ApplyOptions) error {
	have, err := semver.StrictNewVersion(running)
	if err != nil {
		return fmt.Errorf("internal error: the running version %q: %w", running, err)
	}
	want, err := semver.StrictNewVersion(latest)
	if err != nil {
		return fmt.Errorf("internal error: the channel's version %q: %w", latest, err)
	}
	switch {
	case want.LessThan(have) && !o.AllowDowngrade:
		return withHint(fmt.Errorf("%w: the channel names version %s, and %s is running: the channel is out of date", ErrNothing, want, have),
			"if it stays so, ask the vendor; to go back all the same: --allow-downgrade")
	case want.Equal(have) && !o.Reinstall:
		return withHint(fmt.Errorf("%w: version %s is the channel's latest, and is running", ErrNothing, have), "to install it again: --reinstall")
	}
	return nil
}

// failed reports whether a slot's system was booted and did not hold.
func (f *Facts) failed(id slot.ID) bool {
	r := f.Slot(id).Record
	return f.SlotState(id) == SlotBad || r != nil && r.State == RecordFailed
}
