//go:build qemu

package qemu

import (
	"testing"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// What GRUB knows about a slot.
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

func TestPanicFallsBack(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.variant(bootctl.SystemB, tiny.Panics)
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(1)})
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemB, bootctl.WhyTrial)
		// Nobody pushes a button: panic=10 is from grub.cfg.
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: bad})
	})
}

func TestHangFallsBackByTheWatchdog(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.variant(bootctl.SystemB, tiny.Hangs)
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(1)})
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemB, bootctl.WhyTrial)
		d.says("tiny: hanging")
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: bad})
	})
}

// A slot that was committed boots again and again, however often it is
// interrupted: power cuts must never use up what an update has earned.
func TestInterruptedBootsDoNotDemoteACommittedSlot(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.set(bootctl.State{Primary: slot.B, A: good, B: good})
		d.powerOn(vm.Disk{})
		for _, moment := range []string{"AB: booting b", "AB: booting b", tiny.BootPattern, tiny.UpPattern} {
			d.says(moment)
			d.reset()
		}
		d.boots(bootctl.SystemB, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: good})
	})
}

// With nothing good and no try left GRUB takes what is complete, in turns.
func TestLastResortTakesTurns(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.set(bootctl.State{Primary: slot.A, A: bad, B: bad})
		d.powerOn(vm.Disk{})
		for _, sys := range []bootctl.System{bootctl.SystemB, bootctl.SystemA, bootctl.SystemB} {
			d.boots(sys, bootctl.WhyLastResort)
			d.reset()
		}
	})
}
