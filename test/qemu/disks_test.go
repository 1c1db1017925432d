//go:build qemu

package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// A second gateway's disk in the machine, found first by the hardware: GRUB
// counts and boots on the disk that it was started from.
func TestAnotherGatewaysDiskIsLeftAlone(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(2)})
		other := freshDevice(t, fw, "9.0.0", tiny.Undecided)
		other.set(bootctl.State{Primary: slot.A, A: tries(2), B: good})
		before, err := os.ReadFile(other.disk)
		d.must(err)

		d.beside = []vm.Disk{{Path: other.disk, BootLast: true}}
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemB, bootctl.WhyTrial)
		after, err := os.ReadFile(other.disk)
		d.must(err)
		if string(after) != string(before) {
			t.Error("the other disk was written to")
		}
	})
}

// An empty disk in front, as a customer adds one: Linux calls ours vdb then.
func TestDisksChangePlaces(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(2)})
		empty := filepath.Join(t.TempDir(), "empty.img")
		d.must(os.WriteFile(empty, nil, 0o600))
		d.must(os.Truncate(empty, 1<<30))
		d.beside = []vm.Disk{{Path: empty, BootLast: true}}
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemB, bootctl.WhyTrial)
	})
}
