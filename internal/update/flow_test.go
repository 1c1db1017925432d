package update

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestUpdateFlow walks one device through its life: update, trial, commit,
// rollback, and back.
func TestUpdateFlow(t *testing.T) {
	v := newVendor(t)
	v1, v2 := content("1", 3*mib), content("2", 3*mib)
	disk := v.newDisk(t, v1)
	b2 := v.bundleFile(t, v2, nil)

	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	done, err := apply(u, b2, ApplyOptions{})
	must(t, err)
	if done.Armed || u.Facts().Phase() != PhaseWritten || done.Slot != slot.B {
		t.Fatalf("after apply: %+v, phase %v", done, u.Facts().Phase())
	}
	if !holds(t, disk, slot.B, v2) || !holds(t, disk, slot.A, v1) {
		t.Fatal("the slots do not hold the two versions")
	}
	must(t, u.Arm(context.Background()))
	if got := u.Facts().Boot; got.Primary != slot.B || got.B.Tries != 3 || !got.A.OK {
		t.Fatalf("armed: %+v", got)
	}
	args, err := u.dev.Store.Args(bootctl.SystemB)
	if err != nil || args.Device != "console=ttyS0" || args.Image != "quiet" {
		t.Fatalf("kernel arguments of slot b: %+v, %v", args, err)
	}

	spendTry(t, u)
	u = mustOpen(t, disk, slot.B, bootctl.WhyTrial)
	if _, err := apply(u, b2, ApplyOptions{}); !errors.Is(err, ErrNotCommitted) {
		t.Fatalf("apply in a trial: %v", err)
	}
	must(t, u.Commit())
	if err := u.Commit(); !errors.Is(err, ErrNothing) {
		t.Fatalf("second commit: %v", err)
	}
	if _, err := apply(u, b2, ApplyOptions{}); !errors.Is(err, ErrNothing) {
		t.Fatalf("the running version again: %v", err)
	}

	if step, err := u.Rollback(context.Background(), false); err != nil || step != StepArmOther {
		t.Fatalf("rollback: %v, %v", step, err)
	}
	if step, err := u.Rollback(context.Background(), false); err != nil || step != StepDisarm {
		t.Fatalf("rollback of the rollback: %v, %v", step, err)
	}
	if got := u.Facts().Boot; !got.A.OK || !got.B.OK || got.Primary != slot.B {
		t.Fatalf("disarmed: %+v", got)
	}
	_, err = u.Rollback(context.Background(), false)
	must(t, err)
	spendTry(t, u)
	u = mustOpen(t, disk, slot.A, bootctl.WhyTrial)
	must(t, u.FailTrial(ActionHealth, "no network"))
	u = mustOpen(t, disk, slot.B, bootctl.WhyGood)
	if u.Facts().SlotState(slot.A) != SlotBad || u.Facts().Boot.Primary != slot.B {
		t.Fatalf("after the failed trial: slot a %v, %+v", u.Facts().SlotState(slot.A), u.Facts().Boot)
	}
	if _, err := u.Rollback(context.Background(), false); !errors.Is(err, ErrNothing) {
		t.Fatalf("rollback to a slot that failed: %v", err)
	}
	ring, err := u.History()
	must(t, err)
	if len(ring) < 6 {
		t.Errorf("history has %d entries: %+v", len(ring), ring)
	}
}

// spendTry does what GRUB does with a trial.
func spendTry(t *testing.T, u *Updater) {
	t.Helper()
	s := u.Facts().Boot
	flags := &s.A
	if s.Primary == slot.B {
		flags = &s.B
	}
	flags.Tries--
	must(t, u.dev.Store.SetState(s))
}

// TestForget: an update that was written and given up is not armed by the
// shutdown.
func TestForget(t *testing.T) {
	v := newVendor(t)
	disk := v.newDisk(t, content("1", 2*mib))
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	b2 := v.bundleFile(t, content("2", 2*mib), nil)
	_, err := apply(u, b2, ApplyOptions{})
	must(t, err)
	if step, err := u.Rollback(context.Background(), false); err != nil || step != StepForget {
		t.Fatalf("rollback: %v, %v", step, err)
	}
	must(t, u.Arm(context.Background()))
	if u.Facts().Phase() != PhaseIdle || u.Facts().Boot.Primary != slot.A {
		t.Fatalf("phase %v, %+v", u.Facts().Phase(), u.Facts().Boot)
	}
	// The same bundle again finds everything in its place.
	done, err := apply(u, b2, ApplyOptions{})
	must(t, err)
	if done.BytesWritten != 0 || done.BytesReused != 2*mib {
		t.Errorf("written %d, reused %d; want 0 and %d", done.BytesWritten, done.BytesReused, 2*mib)
	}
}

// TestRefusals: each is told apart and writes nothing.
func TestRefusals(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 2*mib)
	disk := v.newDisk(t, v1)
	other := newVendor(t)
	rows := map[string]struct {
		path string
		o    ApplyOptions
		want error
	}{
		"older version":                       {v.bundleFile(t, v1, func(o *bundle.CreateOptions) { o.Version = "0.9.0" }), ApplyOptions{}, ErrDowngrade},
		"older by semver":                     {v.bundleFile(t, v1, func(o *bundle.CreateOptions) { o.Version = "1.0.0-rc.10" }), ApplyOptions{}, ErrDowngrade},
		"the running version":                 {v.bundleFile(t, v1, func(o *bundle.CreateOptions) { o.Version = "1.0.0" }), ApplyOptions{}, ErrNothing},
		"same version, new bytes":             {v.bundleFile(t, content("x", 2*mib), func(o *bundle.CreateOptions) { o.Version = "1.0.0" }), ApplyOptions{}, bundle.ErrIncompatible},
		"wrong product":                       {v.bundleFile(t, v1, func(o *bundle.CreateOptions) { o.Product = "toaster" }), ApplyOptions{}, bundle.ErrIncompatible},
		"wrong device":                        {v.bundleFile(t, v1, func(o *bundle.CreateOptions) { o.Compatible = []string{"gw-arm"} }), ApplyOptions{}, bundle.ErrIncompatible},
		"newer agent needed":                  {v.bundleFile(t, v1, func(o *bundle.CreateOptions) { o.MinimumAgent = "9.0.0" }), ApplyOptions{}, bundle.ErrIncompatible},
		"too large":                           {v.bundleFile(t, content("2", 5*mib), nil), ApplyOptions{}, ErrNoFit},
		"a file system that GRUB cannot read": {v.bundleFile(t, extImage(0x2000), nil), ApplyOptions{}, bundle.ErrIncompatible},
		"another vendor":                      {other.bundleFile(t, v1, nil), ApplyOptions{}, bundle.ErrSignature},
		"dry run":                             {v.bundleFile(t, content("2", 2*mib), nil), ApplyOptions{DryRun: true}, nil},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			d := disk.Clone()
			u := mustOpen(t, d, slot.A, bootctl.WhyGood)
			before := d.Ops()
			if _, err := apply(u, r.path, r.o); !errors.Is(err, r.want) {
				t.Errorf("error %v, want %v", err, r.want)
			}
			if n := d.Ops() - before; n != 0 {
				t.Errorf("%d writes", n)
			}
		})
	}
}

// extImage is an image that says it is ext4 with an incompatible feature.
func extImage(feature uint32) []byte {
	b := content("ext", 2*mib)
	binary.LittleEndian.PutUint16(b[1024+0x38:], 0xEF53)
	binary.LittleEndian.PutUint32(b[1024+0x60:], feature)
	return b
}

// TestEpochRatchet: the epoch of a committed system locks older ones out, and
// no flag helps.
func TestEpochRatchet(t *testing.T) {
	v := newVendor(t)
	disk := v.newDisk(t, content("1", 2*mib))
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	_, err := apply(u, v.bundleFile(t, content("2", 2*mib), func(o *bundle.CreateOptions) { o.Epoch = 5 }), ApplyOptions{})
	must(t, err)
	must(t, u.Arm(context.Background()))
	u = mustOpen(t, disk, slot.B, bootctl.WhyTrial)
	must(t, u.Commit())

	u = mustOpen(t, disk, slot.B, bootctl.WhyGood)
	old := v.bundleFile(t, content("3", 2*mib), func(o *bundle.CreateOptions) { o.Version, o.Epoch = "3.0.0", 4 })
	if _, err := apply(u, old, ApplyOptions{AllowDowngrade: true, Reinstall: true}); !errors.Is(err, ErrDowngrade) {
		t.Errorf("a bundle of an older epoch: %v", err)
	}
	if _, err := u.Rollback(context.Background(), false); !errors.Is(err, ErrDowngrade) {
		t.Errorf("rollback to an older epoch: %v", err)
	}
}

// TestPassedOver: an armed slot that GRUB could not load is bad, and is not
// armed for ever; one that was armed in this boot has its trial before it.
func TestPassedOver(t *testing.T) {
	v := newVendor(t)
	disk := v.newDisk(t, content("1", 2*mib))
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	bootSeq := u.Facts().Boot.Seq
	_, err := apply(u, v.bundleFile(t, content("2", 2*mib), nil), ApplyOptions{})
	must(t, err)
	must(t, u.Arm(context.Background()))

	reopen := func(seq uint32) *Updater {
		dev, err := OnDisk(disk, slot.A, bootctl.WhyGood)
		must(t, err)
		dev.bootSeq = seq
		u, err := Open(dev, Options{AgentVersion: "1.0.0"})
		must(t, err)
		return u
	}
	if u := reopen(bootSeq); u.Facts().Phase() != PhaseArmed {
		t.Fatalf("armed in this boot: phase %v", u.Facts().Phase())
	}
	u = reopen(u.Facts().Boot.Seq)
	if u.Facts().SlotState(slot.B) != SlotBad || u.Facts().Boot.Primary != slot.A {
		t.Fatalf("passed over: slot b %v, %+v", u.Facts().SlotState(slot.B), u.Facts().Boot)
	}
	if r := u.LastResult(); r == nil || r.Action != ActionFallback {
		t.Fatalf("last result %+v", r)
	}
}
