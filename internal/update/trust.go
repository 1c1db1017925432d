package update

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
)

// Trust is what this device accepts: for whom it was made, whose signatures
// count, and from which epoch on.
type Trust struct {
	Device  DeviceRecord
	Keyring *bundle.Keyring
	Epoch   uint64
}

// loadTrust reads the stored trust and brings it up to what the running,
// committed system proves: a power cut between a commit and the records that
// follow it loses nothing.
func loadTrust(store *bootctl.Store, f *Facts) (*Trust, error) {
	device, err := store.Record(bootctl.RecordDevice)
	if err != nil {
		return nil, fmt.Errorf("reading the device's identity: %w", err)
	}
	t := &Trust{}
	if t.Device, err = ParseDeviceRecord(device); err != nil {
		return nil, fmt.Errorf("%w: %w", bootctl.ErrBootState, err)
	}
	ring, err := store.Record(bootctl.RecordKeyring)
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	if t.Keyring, err = bundle.ParseKeyring(ring); err != nil {
		return nil, fmt.Errorf("%w: the stored keyring: %w", bootctl.ErrBootState, err)
	}
	epoch, err := store.Record(bootctl.RecordEpoch)
	if err != nil {
		return nil, fmt.Errorf("reading the epoch: %w", err)
	}
	if len(epoch) > 0 {
		if t.Epoch, err = strconv.ParseUint(string(epoch), 10, 64); err != nil {
			return nil, fmt.Errorf("%w: the stored epoch: %w", bootctl.ErrBootState, err)
		}
	}
	return t, t.ratchet(f)
}

// ratchet raises keyring and epoch to those of the running system, once that
// is committed. They never go down.
func (t *Trust) ratchet(f *Facts) error {
	run := f.Slot(f.Running)
	if run.Record != nil && run.Manifest != nil && f.Boot.Flags(f.Running).OK {
		ring, err := bundle.VerifyKeyrings(run.Record.Keyrings, t.Keyring)
		if err != nil {
			return fmt.Errorf("the keyrings of the running system: %w", err)
		}
		t.Keyring = ring
		t.Epoch = max(t.Epoch, run.Manifest.Epoch)
	}
	t.Epoch = max(t.Epoch, t.Keyring.MinEpoch)
	return nil
}

// store makes the trust durable. A cut before or between the two records
// leaves the older ones, which the next start raises again.
func (t *Trust) store(store *bootctl.Store) error {
	return errors.Join(
		storeChanged(store, bootctl.RecordKeyring, t.Keyring.Marshal()),
		storeChanged(store, bootctl.RecordEpoch, []byte(strconv.FormatUint(t.Epoch, 10))),
	)
}

// storeChanged writes a record unless it holds just that already.
func storeChanged(store *bootctl.Store, id bootctl.RecordID, b []byte) error {
	if old, err := store.Record(id); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return store.SetRecord(id, b)
}
