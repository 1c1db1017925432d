//go:build qemu

package qemu

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// With nothing to boot GRUB tries again, for ever, and no key stops it: there
// is nobody in front of the device, and a noisy serial line presses keys.
func TestNothingBootsKeepsRetryingWhateverKeysArePressed(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		kernel := d.read(bootctl.SystemA, vmlinuz)
		d.remove(bootctl.SystemA, vmlinuz)
		d.remove(bootctl.SystemB, vmlinuz)
		on := bootctl.State{Primary: slot.A, A: good, B: good}
		d.set(on)
		d.powerOn(vm.Disk{})
		for range 2 {
			d.says("AB: nothing boots")
			d.pressKeys()
		}
		d.says("AB: nothing boots")
		d.expect(on)

		// It looks anew each time: put the kernel back, and it boots.
		d.restore(bootctl.SystemA, vmlinuz, kernel)
		d.boots(bootctl.SystemA, bootctl.WhyGood)
	})
}

// pressKeys types on the serial line and on the keyboard what would get a
// person to a prompt or a menu, for half of the ten seconds that GRUB waits.
func (d *device) pressKeys() {
	d.t.Helper()
	keys := []string{"\x1b", "c", "e", "\r", "\x03", "\x1b\x1b", " "}
	names := []string{"esc", "c", "e", "ret", "ctrl-c", "shift", "spc"}
	tick := time.NewTicker(350 * time.Millisecond)
	defer tick.Stop()
	for i := range 2 * len(keys) {
		d.must(d.machine.Console.Send(keys[i%len(keys)]))
		d.must(d.machine.Press(d.ctx, names[i%len(names)]))
		<-tick.C
	}
}

// A damaged grub.cfg, or no abboot at all, leaves GRUB's core: it boots a slot
// by itself and says so.
func TestCoreBootsASlotWithoutAbboot(t *testing.T) {
	for name, damage := range map[string]func(d *device){
		"grub.cfg deleted": func(d *device) { d.debugfs(d.layout.BootPart, "rm "+bootctl.GrubConfigPath) },
		"grub.cfg is garbage": func(d *device) {
			source := d.t.TempDir() + "/grub.cfg"
			d.must(os.WriteFile(source, []byte("function { if [ }}}\x00\xff"), 0o600))
			d.debugfs(d.layout.BootPart, "rm "+bootctl.GrubConfigPath, "write "+source+" "+bootctl.GrubConfigPath)
		},
		"abboot zeroed": func(d *device) { d.write(d.parts[d.layout.BootPart], make([]byte, 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			parallel(t, func(t *testing.T, fw vm.Firmware) {
				d := newDevice(t, fw, twoSlots(t, fw))
				damage(d)
				d.powerOn(vm.Disk{})
				// There are no args, so no console: the control line answers.
				ctx, cancel := context.WithTimeout(d.ctx, bootTime)
				defer cancel()
				d.must(d.machine.Control.Ready(ctx))
				cmdline, _, err := d.machine.Control.Run(ctx, "cat /proc/cmdline")
				d.must(err)
				if !strings.Contains(cmdline, "root=PARTUUID=") || !strings.Contains(cmdline, " ab.why=core") {
					t.Errorf("the kernel command line is %q", cmdline)
				}
			})
		})
	}
}
