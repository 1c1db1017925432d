//go:build qemu && long

package qemu

import (
	"sync/atomic"
	"testing"

	"github.com/abupdate/abupdate/test/qemu/factory"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

var cutSize = powerCuts{settled: 3, finished: 10, boots: 8}

// TestPowerCutOnBothFilesystems is TestPowerCutAtEveryWriteOfAnUpdate on ext4
// and on XFS, with more of everything.
func TestPowerCutOnBothFilesystems(t *testing.T) {
	const atLeast = 300
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		var prefixes atomic.Int64
		t.Cleanup(func() {
			t.Logf("%v: %d prefixes", fw, prefixes.Load())
			if !t.Failed() && prefixes.Load() < atLeast {
				t.Errorf("%v: %d prefixes, want %d or more", fw, prefixes.Load(), atLeast)
			}
		})
		for name, vendor := range map[string]func() (*factory.Factory, error){"ext4": vendor, "xfs": vendorXFS} {
			t.Run(name, func(t *testing.T) {
				f, err := vendor()
				if err != nil {
					t.Fatal(err)
				}
				prefixes.Add(int64(cutEverywhere(t, f, fw)))
			})
		}
	})
}
