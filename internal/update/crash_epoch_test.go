package update

import (
	"context"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestCrashKeepsTheEpoch cuts the commit of a system with a higher epoch. Once
// it has been seen as good, the epoch stays, also when that system is lost
// afterwards and GRUB goes back to the one before.
func TestCrashKeepsTheEpoch(t *testing.T) {
	const epoch = 5
	b := newBed(t, 0)
	b.path = b.signed(t, func(o *bundle.CreateOptions) { o.Epoch = epoch })
	u := mustOpen(t, b.base, slot.A, bootctl.WhyGood)
	_, err := apply(u, b.path, ApplyOptions{})
	must(t, err)
	must(t, u.Arm(context.Background()))
	if id, _, err := b.powerOn(b.base); err != nil || id != slot.B {
		t.Fatalf("slot %v, %v", id, err)
	}
	blockdevtest.Campaign{
		Base: b.base.Clone(), Run: at(slot.B, bootctl.WhyTrial, (*Updater).Commit),
		Check: func(c blockdevtest.Crash) error {
			id, why, err := b.powerOn(c.Disk)
			if err != nil || why != bootctl.WhyGood {
				return err
			}
			if !c.Done { // the next start makes up for what is missing
				if _, err := updater(c.Disk, id, why); err != nil {
					return err
				}
			}
			if _, err := c.Disk.WriteAt(make([]byte, blockdev.SectorSize), slotBAt); err != nil {
				return err
			}
			if id, why, err = b.powerOn(c.Disk); err != nil || id != slot.A {
				return fmt.Errorf("without slot b, slot %v boots, %w", id, err)
			}
			u, err := updater(c.Disk, id, why)
			if err == nil && u.trust.Epoch != epoch {
				err = fmt.Errorf("epoch %d", u.trust.Epoch)
			}
			return err
		},
	}.Test(t)
}
