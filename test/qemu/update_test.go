//go:build qemu

package qemu

import (
	"strings"
	"testing"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// The whole life of an update: over HTTP, armed by the orderly shutdown, tried,
// found healthy, committed; and the way back by hand.
func TestUpdateTrialCommitRollback(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := freshDevice(t, fw, "1.0.0", tiny.Healthy)
		url := d.release("2.0.0", tiny.Healthy)
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.settled()
		d.abupdate(0, "apply "+url)
		d.expect(bootctl.State{Primary: slot.A, A: good, B: bad})
		d.abupdate(3, "apply "+d.release("1.0.0", tiny.Healthy)) // it is running
		d.leave("reboot")

		d.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})
		s := d.committed()
		if s.Booted != "b" || s.Slots["b"].Version != "2.0.0" || s.Slots["a"].State != "good" {
			t.Errorf("after the commit: %+v", s)
		}
		d.expect(bootctl.State{Primary: slot.B, A: good, B: good})
		d.look()
		d.reset()
		d.boots(bootctl.SystemB, bootctl.WhyGood)
		d.settled()

		d.leave("rollback --reboot")
		d.trial(bootctl.SystemA, bootctl.State{Primary: slot.A, A: tries(3), B: good})
		d.committed()
		d.expect(bootctl.State{Primary: slot.A, A: good, B: good})
	})
}

// trial waits for the next boot, which is a system's first try after it was
// armed with the given state.
func (d *device) trial(sys bootctl.System, armed bootctl.State) {
	d.t.Helper()
	d.says(`The next boot is a trial of slot ` + sys.String())
	if got := d.state(); got.Primary != armed.Primary || got.A != armed.A || got.B != armed.B {
		d.t.Errorf("armed with %+v, want %+v", got, armed)
	}
	d.look()
	d.boots(sys, bootctl.WhyTrial)
	d.up()
}

// A reset without a shutdown is no reboot: what was configured since the apply
// is not carried over yet, so the running slot boots.
func TestUnplannedResetDoesNotStartTheTrial(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := freshDevice(t, fw, "1.0.0", tiny.Undecided)
		url := d.release("2.0.0", tiny.Undecided)
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.up()
		d.abupdate(0, "apply "+url)
		d.look()
		d.reset()
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.up()
		if s := d.status(); s.Phase != "written" || s.Slots["b"].Version != "2.0.0" {
			t.Errorf("after the reset: %+v", s)
		}
		// The orderly one, by any program: init runs the agent on its way down.
		_, _, err := d.machine.Control.Run(d.ctx, "reboot")
		d.must(err)
		d.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})
	})
}

// While the running system is not committed the other slot is the only one
// that is known to work: it must not be overwritten. Once it is committed, one
// boot may see any number of updates.
func TestApplyCommitApplyAgainInOneBoot(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := freshDevice(t, fw, "1.0.0", tiny.Undecided)
		second, third := d.release("2.0.0", tiny.Undecided), d.release("3.0.0", tiny.Undecided)
		fourth := d.release("4.0.0", tiny.Undecided)
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.up()
		d.abupdate(0, "apply "+second)
		d.leave("reboot")
		d.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})

		d.abupdate(22, "apply "+third)
		d.expect(bootctl.State{Primary: slot.B, A: good, B: tries(2)})
		d.abupdate(0, "commit")
		d.abupdate(3, "commit")
		d.abupdate(0, "apply "+third)
		d.expect(bootctl.State{Primary: slot.B, A: bad, B: good})
		d.abupdate(0, "apply "+fourth)
		d.leave("reboot")
		d.trial(bootctl.SystemA, bootctl.State{Primary: slot.A, A: tries(3), B: good})
		if s := d.status(); s.Slots["a"].Version != "4.0.0" || s.Slots["b"].Version != "2.0.0" || s.Phase != "trial" {
			t.Errorf("in the trial: %+v", s)
		}
		d.abupdate(0, "commit")
		d.expect(bootctl.State{Primary: slot.A, A: good, B: good})
	})
}

func TestPanickingUpdateFallsBack(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := freshDevice(t, fw, "1.0.0", tiny.Healthy)
		url := d.release("3.0.0", tiny.Panics)
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.settled()
		d.abupdate(0, "apply "+url+" --reboot")
		d.says("reboot: Restarting system|The next boot is a trial")
		d.look()
		for range 3 {
			d.boots(bootctl.SystemB, bootctl.WhyTrial)
		}
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.up()
		s := d.status()
		if s.Booted != "a" || !s.Committed || s.Slots["b"].State != "bad" {
			t.Errorf("after the fallback: %+v", s)
		}
		if out := d.abupdate(0, "history"); !strings.Contains(out, "3.0.0") {
			t.Errorf("the history says nothing of 3.0.0:\n%s", out)
		}
	})
}

func TestUnhealthyUpdateGoesBackAtOnce(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := freshDevice(t, fw, "1.0.0", tiny.Healthy)
		url := d.release("4.0.0", tiny.Unhealthy)
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.settled()
		d.abupdate(0, "apply "+url)
		d.leave("reboot")
		d.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})
		d.says("going back to slot a")
		d.look()
		// One try was spent; the other two are not needed.
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.up()
		if s := d.status(); s.Slots["b"].State != "bad" || !s.Committed {
			t.Errorf("after the fallback: %+v", s)
		}
	})
}

// With both copies of the boot state broken GRUB boots what is complete. The
// agent finds it healthy, says what happened, and updates work again.
func TestBrokenBootStateIsRepairedAndUpdatesGoOn(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := freshDevice(t, fw, "1.0.0", tiny.Healthy)
		url := d.release("2.0.0", tiny.Healthy)
		for _, e := range d.layout.Env {
			d.write(e.Off, make([]byte, bootctl.EnvSize))
		}
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemA, bootctl.WhyStatic)
		d.up()
		s := d.committed()
		if !s.Bootloader.Ours || s.Bootloader.Env != [2]string{"ok", "ok"} {
			t.Errorf("after the repair: %+v", s)
		}
		d.expect(bootctl.State{Primary: slot.A, A: good, B: bad})
		d.abupdate(0, "apply "+url)
		d.leave("reboot")
		d.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})
	})
}

// Another boot loader reads another boot state, so what the agent writes would
// change nothing. It notices before its first write.
func TestForeignLoaderIsNoticed(t *testing.T) {
	for name, words := range map[string]string{
		"no words of ours": "",
		"another sequence": "ab.slot=a ab.why=good ab.seq=0000000777 ab.state=%d",
		"another slot":     "ab.slot=b ab.why=good ab.seq=0000000001 ab.state=%d",
		"core":             "ab.why=core",
	} {
		t.Run(name, func(t *testing.T) {
			parallel(t, func(t *testing.T, fw vm.Firmware) {
				d := freshDevice(t, fw, "1.0.0", tiny.Undecided)
				url := d.release("2.0.0", tiny.Undecided)
				before := d.state()
				d.powerOn(vm.Disk{}, d.directBoot(bootctl.SystemA, words)...)
				d.bootLine()
				d.up()
				if s := d.status(); s.Bootloader.Ours {
					t.Errorf("status: %+v", s)
				}
				for _, verb := range []string{"apply " + url, "rollback", "commit"} {
					d.abupdate(40, verb)
				}
				if after := d.state(); after != before {
					t.Errorf("the boot state became %+v", after)
				}
				d.offline(func(_ blockdev.Device, st *bootctl.Store) error {
					_, err := st.Args(bootctl.SystemA)
					return err
				})
			})
		})
	}
}
