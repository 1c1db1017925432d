package update

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// misindexed is a bundle whose signed index gives another hash for the image
// bytes of one frame: a packer went wrong, or its machine's memory.
func (v *vendor) misindexed(t *testing.T, image []byte) string {
	t.Helper()
	path := v.bundleFile(t, image, func(o *bundle.CreateOptions) { o.Keys = nil })
	b, err := os.ReadFile(path)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	u, err := bundle.Inspect(bundle.NewStream(f))
	must(t, errors.Join(err, f.Close()))
	payload := u.Manifest.Marshal()
	old := base64.StdEncoding.EncodeToString(payload)

	at := bytes.Index(b, []byte("ABFRAME1"))
	x, err := bundle.ParseFrames(b[at:][:32+68*((len(image)+(256<<10)-1)/(256<<10))])
	must(t, err)
	before := sha256.Sum256(x.Marshal())
	x.Frames[3].SHA256[0] ^= 1
	after := sha256.Sum256(x.Marshal())
	copy(b[at:], x.Marshal())
	payload = bytes.Replace(payload, []byte(hex.EncodeToString(before[:])), []byte(hex.EncodeToString(after[:])), 1)
	b = bytes.Replace(b, []byte(old), []byte(base64.StdEncoding.EncodeToString(payload)), 1)
	must(t, os.WriteFile(path, b, 0o600))

	f, err = os.Open(path)
	must(t, err)
	u, err = bundle.Inspect(bundle.NewStream(f))
	must(t, errors.Join(err, f.Close()))
	sig, err := v.key.Sign(u.PAE)
	must(t, err)
	must(t, bundle.AttachSignature(path, v.key.Public(), sig))
	return path
}

// TestAttack_MisindexedFrame: image bytes that are not the signed ones although
// the compressed bytes are: found by the read-back, and called the bundle's
// fault and not the disk's.
func TestAttack_MisindexedFrame(t *testing.T) {
	v := newVendor(t)
	disk := v.newDisk(t, content("1", 3*mib))
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	path := v.misindexed(t, content("2", 3*mib))
	if _, err := apply(u, path, ApplyOptions{}); !errors.Is(err, bundle.ErrSignature) || errors.Is(err, ErrWrite) {
		t.Fatalf("%v; want a signature error", err)
	}
	must(t, u.Arm(context.Background()))
	u = mustOpen(t, disk, slot.A, bootctl.WhyGood)
	if u.Facts().SlotState(slot.B) != SlotEmpty || u.Facts().Boot.Primary != slot.A {
		t.Errorf("slot b is %v, primary %v", u.Facts().SlotState(slot.B), u.Facts().Boot.Primary)
	}
	if _, err := apply(u, path, ApplyOptions{VerifyFirst: true}); !errors.Is(err, bundle.ErrSignature) {
		t.Errorf("--verify-first: %v", err)
	}
}

// TestCrashMisindexed cuts the power at every write of such an apply: what the
// read-back has not found right never counts as written, or the next shutdown
// would arm it.
func TestCrashMisindexed(t *testing.T) {
	b := newBed(t, 0)
	path := b.v.misindexed(t, content("2", 3*mib))
	blockdevtest.Campaign{
		Base: b.base,
		Run: at(slot.A, bootctl.WhyGood, func(u *Updater) error {
			if _, err := apply(u, path, ApplyOptions{}); !errors.Is(err, bundle.ErrSignature) {
				return fmt.Errorf("the error is %w", err)
			}
			return nil
		}),
		Check: func(c blockdevtest.Crash) error {
			id, why, err := b.powerOn(c.Disk)
			if err != nil || id != slot.A {
				return fmt.Errorf("slot %v boots (%v): %w", id, why, err)
			}
			u, err := updater(c.Disk, id, why)
			if err != nil {
				return err
			}
			if r := u.Facts().Slot(slot.B).Record; r != nil && r.State == RecordWritten {
				return errors.New("slot b counts as written")
			}
			return nil
		},
	}.Test(t)
}
