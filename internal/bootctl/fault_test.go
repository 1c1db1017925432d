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
	for _, sticky := range []bool{false, true} {
		eachCampaign(t, func(t *testing.T, c campaign, base *blockdevtest.Disk) {
			n := 0
			for ; ; n++ {
				d := base.Clone()
				d.Fail(n, unix.EIO, sticky)
				err := c.run(t, d)
				if d.Ops() <= n { // no operation was left to fail
					must(t, err)
					break
				}
				if !errors.Is(err, unix.EIO) {
					t.Fatalf("operation %d failed and the error is %v", n, err)
				}
				if _, err := boot(t, d.Clone()); err != nil {
					t.Fatalf("after the failure of operation %d: %v", n, err)
				}
				d = d.Clone()
				if err := c.run(t, d); err != nil {
					t.Fatalf("again after the failure of operation %d: %v", n, err)
				}
				if o, err := c.check(t, d, true); err != nil || o.String() != c.acknowledged() {
					t.Fatalf("again after the failure of operation %d: %v, %v; want %s", n, o, err, c.acknowledged())
				}
			}
			t.Logf("%d operations", n)
		})
	}
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
