//go:build qemu && !long

package qemu

import (
	"testing"

	"github.com/abupdate/abupdate/test/qemu/vm"
)

// cutSize is how much of a recorded life is judged by whom; the long suite has
// other numbers.
var cutSize = powerCuts{settled: 1, finished: 40, boots: 3}

// One real life of a device is recorded, write by write: apply, arm, GRUB's
// try, commit, rollback, its trial and its commit. Then it is judged as if the
// power had gone after each of its writes, with the disk's cache written out in
// order, or in part and in another order. Real GRUB and the kernel start from a
// sample of these disks.
func TestPowerCutAtEveryWriteOfAnUpdate(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		f, err := vendor()
		if err != nil {
			t.Fatal(err)
		}
		cutEverywhere(t, f, fw)
	})
}
