//go:build qemu && long

package qemu

import (
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
		prefixes, judged := 0, 0
		for name, vendor := range map[string]func() (*factory.Factory, error){"ext4": vendor, "xfs": vendorXFS} {
			t.Run(name, func(t *testing.T) {
				f, err := vendor()
				if err != nil {
					t.Fatal(err)
				}
				prefixes += cutEverywhere(t, f, fw)
				judged++
			})
		}
		if judged == 2 && prefixes < atLeast {
			t.Errorf("%d prefixes, want %d or more", prefixes, atLeast)
		}
	})
}
