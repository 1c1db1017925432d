package bootctl_test

import (
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
)

// TestCrashInHeaderRepair: with one copy of the state file's header broken the
// other is never in danger, and once the repair is acknowledged either copy
// alone is enough.
func TestCrashInHeaderRepair(t *testing.T) {
	breakCopy := func(d *blockdevtest.Disk, n int) {
		_, err := d.WriteAt(make([]byte, 512), testLayout(t).State.Off+int64(n)*4096)
		must(t, err)
	}
	for n := range 2 {
		for _, physical := range []int{512, 4096} {
			t.Run(fmt.Sprintf("copy %d, sectors of %d", n, physical), func(t *testing.T) {
				base := newDisk(t, good, physical)
				breakCopy(base, n)
				repair := func(d *blockdevtest.Disk) error {
					st, err := bootctl.Open(d, testLayout(t).State.Off)
					if err == nil {
						_, err = st.Repair(bootctl.SystemA)
					}
					return err
				}
				blockdevtest.Campaign{
					Base: base.Clone(), Run: repair, Recover: repair,
					Check: func(c blockdevtest.Crash) error {
						lost := []int{n}
						if c.Done {
							lost = []int{0, 1}
						}
						for _, i := range lost {
							d := c.Disk.Clone()
							breakCopy(d, i)
							if _, err := bootctl.Open(d, testLayout(t).State.Off); err != nil {
								return fmt.Errorf("without copy %d: %w", i, err)
							}
						}
						return nil
					},
				}.Test(t)
			})
		}
	}
}
