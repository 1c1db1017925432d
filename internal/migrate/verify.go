package migrate

import (
	"context"
	"fmt"

	"github.com/minio/sha256-simd"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/update"
)

// rootImage is the name of the image that goes into a slot.
const rootImage = "rootfs"

// signedManifest is that of the image for slot a, its signature verified once
// more: between prepare and now the old system has had this disk for itself.
func (m *Migrator) signedManifest() (*bundle.Manifest, error) {
	b, err := m.Store.Record(bootctl.RecordSlotA)
	if err != nil {
		return nil, fmt.Errorf("reading the record of slot a: %w", err)
	}
	record, err := update.ParseSlotRecord(b)
	if err != nil {
		return nil, err
	}
	trusted, err := m.keyring()
	if err != nil {
		return nil, err
	}
	ring, err := bundle.VerifyKeyrings(record.Keyrings, trusted)
	if err != nil {
		return nil, fmt.Errorf("the keyrings of the new system: %w", err)
	}
	manifest, err := bundle.VerifyManifest(record.Envelope, ring)
	if err != nil {
		return nil, fmt.Errorf("the manifest of the new system: %w", err)
	}
	return manifest, nil
}

func (m *Migrator) keyring() (*bundle.Keyring, error) {
	b, err := m.Store.Record(bootctl.RecordKeyring)
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	ring, err := bundle.ParseKeyring(b)
	if err != nil {
		return nil, fmt.Errorf("the stored keyring: %w", err)
	}
	return ring, nil
}

// slotA is the disk's region of slot a.
func (m *Migrator) slotA() (blockdev.Device, error) {
	return blockdev.Section(m.Disk, m.journal.A.Start, m.journal.A.Size)
}

// verifySlot compares slot a with the signed hash, by disk address: whatever
// the old system may have moved or overwritten since prepare is found here.
func (m *Migrator) verifySlot(ctx context.Context, image bundle.Image) error {
	if m.journal.Restoring {
		m.Log.Printf("slot a was verified in an earlier turn")
		return nil
	}
	m.Log.Printf("verifying slot a against the signed hash: %d bytes", image.Size)
	dev, err := m.slotA()
	if err != nil {
		return err
	}
	if image.Size > dev.Size() {
		return fmt.Errorf("an image of %d bytes in a slot of %d", image.Size, dev.Size())
	}
	sum, err := m.hash(ctx, dev, image.Size, "verifying slot a")
	if err != nil {
		return fmt.Errorf("reading slot a: %w", err)
	}
	if sum != image.SHA256 {
		return fmt.Errorf("%w: slot a does not hold the image that was signed: something has changed it since prepare; run: abupdate migrate start", bundle.ErrSignature)
	}
	return nil
}

// hash reads the first size bytes of dev.
func (m *Migrator) hash(ctx context.Context, dev blockdev.Device, size int64, label string) (bundle.Digest, error) {
	buf := blockdev.AlignedBuffer(1 << 20)
	h := sha256.New()
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return bundle.Digest{}, err
		}
		b := buf[:min(int64(len(buf)), size-at)]
		if _, err := dev.ReadAt(b, at); err != nil {
			return bundle.Digest{}, err
		}
		h.Write(b)
		at += int64(len(b))
		m.Log.Progress(label, at, size)
	}
	return bundle.Digest(h.Sum(nil)), nil
}
