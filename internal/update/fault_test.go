package update

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestFaultUpdate fails the Nth write or Sync of an update, for N = 0, 1, …
// until a run has no fault: never a panic, always an error, and the device
// still boots a complete system that the same command then updates.
func TestFaultUpdate(t *testing.T) {
	v := newVendor(t)
	v1, v2 := content("1", 2*mib), content("2", 2*mib)
	base := v.newDisk(t, v1)
	path := v.bundleFile(t, v2, nil)
	images := map[slot.ID][][]byte{slot.A: {v1}, slot.B: {v2}}
	run := func(disk *blockdevtest.Disk) error {
		u, err := updater(disk, slot.A, bootctl.WhyGood)
		if err != nil {
			return err
		}
		if u.Facts().Phase() != PhaseArmed {
			if _, err := apply(u, path, ApplyOptions{}); err != nil {
				return err
			}
		}
		return u.Arm(context.Background())
	}
	for _, sticky := range []bool{false, true} {
		for n := 0; ; n++ {
			disk := base.Clone()
			disk.Fail(n, unix.EIO, sticky)
			err := run(disk)
			if disk.Ops() <= n {
				must(t, err)
				t.Logf("%d operations failed in turn, sticky %v", n, sticky)
				break
			}
			c := blockdevtest.Crash{Index: n, Disk: disk.Clone()}
			id, _ := booted(t, c, images)
			if err == nil {
				t.Fatalf("operation %d failed, and nothing was said", n)
			}
			if id == slot.B {
				continue // it failed after the commit point
			}
			if err := run(c.Disk); err != nil {
				t.Fatalf("after a fault in operation %d: run again: %v", n, err)
			}
		}
	}
}
