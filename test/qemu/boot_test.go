//go:build qemu

package qemu

import (
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// good and trial are states of a slot.
var (
	good = bootctl.Flags{OK: true}
	bad  = bootctl.Flags{}
)

func tries(n int) bootctl.Flags { return bootctl.Flags{Tries: n} }

func TestTriesCountDownThenTheOtherSlot(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(3)})
		d.powerOn(vm.Disk{})
		for range 3 {
			d.boots(bootctl.SystemB, bootctl.WhyTrial)
			d.reset()
		}
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: bad})
	})
}
