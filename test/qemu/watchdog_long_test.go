//go:build qemu && long

package qemu

import (
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/images/kernel"
	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/factory"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// The same hang as in TestHangFallsBackByTheWatchdog, ended by a watchdog of
// the machine. Its driver is in Debian's full kernel only.
func TestHangFallsBackByTheHardwareWatchdog(t *testing.T) {
	f, err := factory.New(t.Context(), repo, filepath.Join(factoryDir, "full"), kernel.Full)
	if err != nil {
		t.Fatal(err)
	}
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		base, err := f.UpdatedDisk(t.Context(), fw, "1.0.0", tiny.Undecided, "2.0.0", tiny.Undecided)
		if err != nil {
			t.Fatal(err)
		}
		d := newDevice(t, fw, base)
		d.variant(bootctl.SystemB, tiny.Hangs)
		d.set(bootctl.State{Primary: slot.B, A: good, B: tries(1)})
		d.powerOn(vm.Disk{}, "-device", "i6300esb", "-action", "watchdog=reset")
		d.boots(bootctl.SystemB, bootctl.WhyTrial)
		d.says("tiny: hanging")
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: bad})
	})
}
