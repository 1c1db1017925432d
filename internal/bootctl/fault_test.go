package bootctl_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// TestFault lets one write or Sync after the other fail, once or from then
// on. The operation must say so, a complete system must boot all the same,
// and the same operation again finishes the job.
func TestFault(t *testing.T) {
	for name, fault := range blockdevtest.QuickFaults() {
		t.Run(name, func(t *testing.T) {
			eachCampaign(t, func(t *testing.T, c campaign, base *blockdevtest.Disk) {
				f := fault
				for f.At = 0; c.fails(t, base, f); f.At++ {
				}
				t.Logf("%d operations", f.At)
			})
		})
	}
}

// fails runs a campaign's operation with a fault, and reports whether the
// fault struck.
func (c campaign) fails(t *testing.T, base *blockdevtest.Disk, f blockdevtest.Fault) bool {
	d := base.Clone()
	d.Inject(f)
	err := c.run(t, d)
	if d.Ops() <= f.At { // no operation was left to fail
		must(t, err)
		return false
	}
	if f.Only != nil && err == nil { // the operation at At was of another kind, and no later one failed
		return true
	}
	if !errors.Is(err, f.Err) {
		t.Fatalf("operation %d failed and the error is %v", f.At, err)
	}
	if _, err := boot(t, d.Clone()); err != nil {
		t.Fatalf("after the failure of operation %d: %v", f.At, err)
	}
	d = d.Clone()
	if err := c.run(t, d); err != nil {
		t.Fatalf("again after the failure of operation %d: %v", f.At, err)
	}
	if o, err := c.check(t, d, true); err != nil || o.String() != c.acknowledged() {
		t.Fatalf("again after the failure of operation %d: %v, %v; want %s", f.At, o, err, c.acknowledged())
	}
	return true
}

// TestFaultInGRUB lets GRUB's own writes fail: no trial that is not counted,
// and something boots.
func TestFaultInGRUB(t *testing.T) {
	for n := range 3 {
		for _, sticky := range []bool{false, true} {
			d := newDisk(t, armed, 512)
			d.Fail(n, unix.EIO, sticky)
			o, err := boot(t, d)
			if err != nil {
				t.Fatalf("write %d: %v", n, err)
			}
			// Only env0 counts as long as it is valid.
			if want := map[bool]string{true: "a (good)", false: "b (trial)"}[n == 0]; o.String() != want {
				t.Errorf("write %d fails (from then on: %v): %v, want %s", n, sticky, o, want)
			}
		}
	}
}
