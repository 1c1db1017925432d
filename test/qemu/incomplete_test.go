//go:build qemu

package qemu

import (
	"bytes"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// fileMissing: a slot without a kernel, or without an initramfs, is passed
// over, whatever its flags say, and no try is spent on it.
func fileMissing(t *testing.T, path string) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.remove(bootctl.SystemB, path)
		on := bootctl.State{Primary: slot.B, A: good, B: tries(2)}
		d.set(on)
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(on)

		on.B = good
		d.set(on)
		d.reset()
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(on)
	})
}

func TestKernelMissing(t *testing.T)    { fileMissing(t, vmlinuz) }
func TestInitramfsMissing(t *testing.T) { fileMissing(t, initramfs) }

// An empty file is as good as none.
func TestInitramfsEmpty(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.resize(bootctl.SystemB, initramfs, 0)
		d.files[bootctl.SystemB] = bootmodel.Missing
		d.set(bootctl.State{Primary: slot.B, A: good, B: good})
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
	})
}

// A kernel that GRUB cannot load leaves it free to load another one.
func TestKernelUnreadable(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.unreadable(bootctl.SystemB, vmlinuz)
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(2)})
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: tries(1)})
	})
}

func TestKernelIsGarbage(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.replace(bootctl.SystemB, vmlinuz, bytes.Repeat([]byte("no kernel "), 2000))
		d.files[bootctl.SystemB] = bootmodel.BadKernel
		d.set(bootctl.State{Primary: slot.B, A: good, B: good})
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: good})
	})
}

// initramfsFails: once a kernel is loaded GRUB cannot load a second one, so
// it marks the slot bad and resets; the second session takes the other slot.
func initramfsFails(t *testing.T, damage func(d *device)) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		damage(d)
		d.files[bootctl.SystemB] = bootmodel.BadInitramfs
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(3)})
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: bad})
	})
}

func TestInitramfsUnreadableAfterLinux(t *testing.T) {
	initramfsFails(t, func(d *device) { d.unreadable(bootctl.SystemB, initramfs) })
}

func TestInitramfsLargerThanMemory(t *testing.T) {
	initramfsFails(t, func(d *device) { d.resize(bootctl.SystemB, initramfs, 6<<30) })
}

// An initramfs that GRUB loads and the kernel cannot use ends in a panic, and
// that in the other slot.
func TestInitramfsIsGarbage(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.replace(bootctl.SystemB, initramfs, bytes.Repeat([]byte("no archive "), 2000))
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(1)})
		d.powerOn(vm.Disk{})
		if predicted := d.model().BootFully(); predicted.System != bootctl.SystemB {
			t.Errorf("the model says %v, want b", predicted)
		}
		d.says("Kernel panic")
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: bad})
	})
}

// The args block is the mark of a complete slot: without it nothing boots the
// slot, even if an old boot state calls it good.
func TestArgsBlockInvalid(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.offline(func(_ blockdev.Device, st *bootctl.Store) error { return st.InvalidateArgs(bootctl.SystemB) })
		d.set(bootctl.State{Primary: slot.B, A: bad, B: good})
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyLastResort)
		d.expect(bootctl.State{Primary: slot.A, A: bad, B: good})
	})
}

// A cut in the middle of writing slot b: its first MiB is still zeros.
func TestHalfWrittenSlot(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.offline(func(_ blockdev.Device, st *bootctl.Store) error { return st.InvalidateArgs(bootctl.SystemB) })
		d.write(d.parts[d.layout.BPart], make([]byte, 1<<20))
		d.files[bootctl.SystemB] = bootmodel.Missing
		on := bootctl.State{Primary: slot.A, A: good, B: bad}
		d.set(on)
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(on)

		// The boot state of an older virtual machine snapshot: b is good.
		on = bootctl.State{Primary: slot.B, A: good, B: good}
		d.set(on)
		d.reset()
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(on)
	})
}
