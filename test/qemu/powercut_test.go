//go:build qemu

package qemu

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/factory"
	"github.com/abupdate/abupdate/test/qemu/logwrites"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// cutEverywhere records, judges, and boots samples. It returns the number of
// prefixes of the log.
func cutEverywhere(t *testing.T, f *factory.Factory, fw vm.Firmware) int {
	r := record(t, f, fw)
	r.judgeAll()
	for _, c := range r.samples() {
		t.Run("boot "+c.name, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "cut.img")
			r.materialize(t, c.Cut, disk)
			s := newDevice(t, fw, disk)
			want := s.model().BootFully()
			s.look()
			s.start(vm.Disk{})
			s.boots(want.System, want.Why)
			s.says(tiny.UpPattern)
		})
	}
	if fw == vm.BIOS { // no firmware has a part in it
		t.Run("in the middle of the restore", r.restoreGoesOn)
	}
	return len(r.log.Entries) + 1
}

// record runs a device through its life with a log of its writes.
func record(t *testing.T, f *factory.Factory, fw vm.Firmware) *replay {
	t.Helper()
	d := freshDeviceOf(t, f, fw, "1.0.0", tiny.Undecided)
	url := d.release("2.0.0", tiny.Undecided)
	dir := t.TempDir()
	r := &replay{
		device: d, dir: dir, before: filepath.Join(dir, "before.img"), path: filepath.Join(dir, "writes"),
		rng: rand.New(rand.NewPCG(2026, uint64(fw))), whole: make(map[generation]bool), set: customerSet(),
	}
	d.must(vm.CopyDisk(r.before, d.disk))
	r.acks = []acknowledgement{{0, expectation(bootctl.SystemA, bootctl.WhyGood)}} // powered on
	d.powerOn(vm.Disk{WriteLog: r.path})
	d.boots(bootctl.SystemA, bootctl.WhyGood)
	d.up()
	d.abupdate(0, "apply "+url)
	r.acknowledge(bootctl.SystemA, bootctl.WhyGood)
	// Configured between the apply and the shutdown: it must not be lost.
	d.configure(r.set)
	d.abupdate(0, "arm")
	r.acknowledge(bootctl.SystemB, bootctl.WhyTrial)
	d.leave("reboot")
	d.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})
	d.abupdate(0, "commit")
	r.acknowledge(bootctl.SystemB, bootctl.WhyGood)
	d.abupdate(0, "rollback")
	r.acknowledge(bootctl.SystemA, bootctl.WhyTrial)
	d.leave("reboot")
	d.trial(bootctl.SystemA, bootctl.State{Primary: slot.A, A: tries(3), B: good})
	d.abupdate(0, "commit")
	r.acknowledge(bootctl.SystemA, bootctl.WhyGood)
	d.must(d.machine.Close())
	r.log = r.open()
	return r
}

// renamed is the host name that somebody gives the device before the shutdown.
const renamed = "renamed"

// acknowledgement is something that the guest was told to be done, and what
// boots from then on.
type acknowledgement struct {
	entries int
	what    string
}

// Some acknowledgements, by their place in the list: those of the apply and of
// the first commit, with power-on before the one and arm between them.
const (
	applied    = 1
	committedB = 3
)

func expectation(sys bootctl.System, why bootctl.Why) string { return fmt.Sprintf("%v (%v)", sys, why) }

// acknowledge notes what boots if the power goes now.
func (r *replay) acknowledge(sys bootctl.System, why bootctl.Why) {
	r.t.Helper()
	r.acks = append(r.acks, acknowledgement{len(r.open().Entries), expectation(sys, why)})
}

// sample is a disk that real GRUB is to start from.
type sample struct {
	name string
	logwrites.Cut
}

// samples are the disks around each change of what boots, and others drawn at
// random, as many as are to be booted.
func (r *replay) samples() []sample {
	list := r.turns
	r.rng.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
	list = list[:min(len(list), cutSize.boots/2)]
	r.rng.Shuffle(len(r.cuts), func(i, k int) { r.cuts[i], r.cuts[k] = r.cuts[k], r.cuts[i] })
	return append(list, r.cuts[:min(len(r.cuts), cutSize.boots-len(list))]...)
}
