package update

import (
	"errors"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestFaultUpdate fails the Nth operation of an update, for N = 0, 1, … until
// a run has no fault: never a panic; an error of a documented kind, unless the
// job was done all the same; and the device boots a complete system, which
// then finishes the job.
func TestFaultUpdate(t *testing.T) {
	for name, fault := range blockdevtest.QuickFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 0)
			for fault.At = 0; b.fails(t, fault); fault.At++ {
			}
			t.Logf("%d operations failed in turn", fault.At)
		})
	}
}

// fails runs an update with a fault, and reports whether the fault struck.
func (b *bed) fails(t *testing.T, fault blockdevtest.Fault) bool {
	t.Helper()
	disk := b.base.Clone()
	disk.Inject(fault)
	err := b.update(disk)
	if disk.Ops() <= fault.At {
		must(t, err)
		return false
	}
	disk = disk.Clone()
	id, why, bootErr := b.powerOn(disk.Clone())
	switch {
	case bootErr != nil:
		t.Fatalf("operation %d failed: %v", fault.At, bootErr)
	case err == nil && (id != slot.B || why != bootctl.WhyGood):
		t.Fatalf("operation %d failed, and nothing was said", fault.At)
	case fault.Sticky && errors.Is(err, errNotCommitted): // it was GRUB that could not write
	case err != nil && (!errors.Is(err, fault.Err) || !errors.Is(err, ErrWrite) && !errors.Is(err, bootctl.ErrBootState)):
		t.Fatalf("operation %d failed, and the error is neither about the slot nor about the boot state: %v", fault.At, err)
	}
	if err := b.update(disk); err != nil {
		t.Fatalf("after a fault in operation %d: run again: %v", fault.At, err)
	}
	return true
}
