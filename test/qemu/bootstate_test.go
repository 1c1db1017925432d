//go:build qemu

package qemu

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// brokenEnvs are contents of a boot state copy that nobody may go by.
var brokenEnvs = []struct {
	name  string
	spoil func(valid []byte) []byte
}{
	{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
	{"random", func(b []byte) []byte {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}},
	{"cut short", func(b []byte) []byte { clear(b[100:]); return b }},
	{"impossible primary", func(b []byte) []byte { return bytes.Replace(b, []byte("ab_pri=b"), []byte("ab_pri=c"), 1) }},
	{"no end", func(b []byte) []byte { return bytes.Replace(b, []byte("ab_end=1"), []byte("ab_xxx=1"), 1) }},
}

// trialOfB makes GRUB count.
var trialOfB = bootctl.State{Primary: slot.B, A: good, B: tries(2)}

// breakEnv writes a broken content to some copies of the boot state.
func (d *device) breakEnv(how func([]byte) []byte, copies ...int) {
	d.t.Helper()
	for _, i := range copies {
		block := make([]byte, bootctl.EnvSize)
		_, err := d.shadow.ReadAt(block, d.layout.Env[i].Off)
		d.must(err)
		broken := how(bytes.Clone(block))
		if bytes.Equal(broken, block) {
			d.t.Fatal("internal error: nothing was broken")
		}
		d.write(d.layout.Env[i].Off, broken)
	}
}

// One broken copy costs nothing where nothing has to be counted: GRUB goes by
// the other one. (By none it would have taken a.)
func TestEnv0Broken(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		on := bootctl.State{Primary: slot.B, A: good, B: good}
		for i, broken := range brokenEnvs {
			d.set(on)
			d.breakEnv(broken.spoil, 0)
			if i == 0 {
				d.powerOn(vm.Disk{})
			} else {
				d.reset()
			}
			d.named(broken.name, func() { d.boots(bootctl.SystemB, bootctl.WhyGood) })
			d.expect(on)
			d.renew()
		}
	})
}

// A trial is counted in two copies, or it is not begun: were the only whole
// one torn by a power cut while GRUB writes it, nothing would be left.
func TestNoTrialWithABrokenCopy(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		for i := range d.layout.Env {
			d.set(trialOfB)
			d.breakEnv(brokenEnvs[0].spoil, i)
			if i == 0 {
				d.powerOn(vm.Disk{})
			} else {
				d.reset()
			}
			d.boots(bootctl.SystemA, bootctl.WhyGood)
			d.expect(trialOfB)
			d.renew()
		}
	})
}

// env1Is checks the second copy by itself.
func (d *device) env1Is(want bootctl.State) {
	d.t.Helper()
	d.offline(func(dev blockdev.Device, _ *bootctl.Store) error {
		block := make([]byte, bootctl.EnvSize)
		if _, err := dev.ReadAt(block, d.layout.Env[1].Off); err != nil {
			return err
		}
		got, err := bootctl.ParseEnv(block)
		if err != nil {
			return err
		}
		want.Seq, want.BKind = got.Seq, bootctl.KindSlot
		if got != want {
			return fmt.Errorf("env1 is %+v, want %+v", got, want)
		}
		return nil
	})
}

// Without a boot state nothing can be counted: a complete slot is booted, and
// the kernel is told that GRUB had nothing to go by.
func TestBothEnvsBroken(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.set(trialOfB)
		d.powerOn(vm.Disk{})
		for i, broken := range brokenEnvs[:3] {
			d.renew()
			d.breakEnv(broken.spoil, 0, 1)
			if i > 0 {
				d.reset()
			}
			d.named(broken.name, func() { d.boots(bootctl.SystemA, bootctl.WhyStatic) })
		}
		d.offline(func(_ blockdev.Device, st *bootctl.Store) error { return st.InvalidateArgs(bootctl.SystemA) })
		d.look()
		d.reset()
		d.named("a not complete", func() { d.boots(bootctl.SystemB, bootctl.WhyStatic) })
	})
}

// The files themselves are gone or too short, though their sectors are there.
func TestEnvFilesDeletedOrTruncated(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		d.set(bootctl.State{Primary: slot.B, A: good, B: good})
		d.hide(0, "rm "+bootctl.Env0Path)
		d.powerOn(vm.Disk{})
		d.named("env0 deleted", func() { d.boots(bootctl.SystemB, bootctl.WhyGood) })
		d.hide(1, fmt.Sprintf("sif %s size %d", bootctl.Env1Path, 100))
		d.reset()
		d.named("env1 truncated", func() { d.boots(bootctl.SystemA, bootctl.WhyStatic) })
		d.hide(1, "rm "+bootctl.Env1Path)
		d.reset()
		d.named("both deleted", func() { d.boots(bootctl.SystemA, bootctl.WhyStatic) })
	})
}

// A stale env1, as a cut between the two writes leaves it, is not looked at,
// and GRUB's own saving ends the difference.
func TestStaleEnv1IsNotMixedIn(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := newDevice(t, fw, twoSlots(t, fw))
		stale := bootctl.State{Seq: 1, Primary: slot.A, A: good, B: bad, BKind: bootctl.KindSlot}
		d.set(trialOfB)
		d.write(d.layout.Env[1].Off, stale.Encode())
		d.powerOn(vm.Disk{})
		d.boots(bootctl.SystemB, bootctl.WhyTrial)
		d.env1Is(bootctl.State{Primary: slot.B, A: good, B: tries(1)})
	})
}

// A trial that cannot be counted would never end, so it is not begun: the
// sector of env0 is broken for writing, as a worn disk's.
func TestEnvThatCannotBeSaved(t *testing.T) {
	for name, copies := range map[string][]int{"env0": {0}, "both": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			parallel(t, func(t *testing.T, fw vm.Firmware) {
				d := newDevice(t, fw, twoSlots(t, fw))
				d.set(trialOfB)
				var disk vm.Disk
				for _, i := range copies {
					d.shadow.fixed = append(d.shadow.fixed, d.layout.Env[i])
					disk.BadSectors = append(disk.BadSectors, d.layout.Env[i].Off/blockdev.SectorSize)
				}
				d.powerOn(disk)
				d.boots(bootctl.SystemA, bootctl.WhyGood)
				d.expect(trialOfB)
			})
		})
	}
}

// renew makes both copies whole again.
func (d *device) renew() {
	d.t.Helper()
	s := trialOfB
	s.Seq, s.BKind = 1, bootctl.KindSlot
	for _, e := range d.layout.Env {
		d.write(e.Off, s.Encode())
	}
}

// named says which of several cases failed.
func (d *device) named(name string, test func()) {
	d.t.Helper()
	failed := d.t.Failed()
	defer func() {
		if d.t.Failed() && !failed {
			d.t.Logf("that was the case %q", name)
		}
	}()
	test()
}
