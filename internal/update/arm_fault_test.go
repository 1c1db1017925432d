package update

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestFaultArmMarksSlotLast looks at the slot while an arming carries the
// configuration into it: it must not look complete, neither from this arming
// nor from an earlier one that was cut after it had marked the slot. Only when
// all is done it does.
func TestFaultArmMarksSlotLast(t *testing.T) {
	b := newBed(t, 0)
	written := b.base.Clone()
	_, err := apply(mustOpen(t, written, slot.A, bootctl.WhyGood), b.path, ApplyOptions{})
	must(t, err)
	marked := written.Clone()
	store := mustOpen(t, marked, slot.A, bootctl.WhyGood).dev.Store
	args, err := store.Args(bootctl.SystemA)
	must(t, err)
	must(t, store.SetArgs(bootctl.SystemB, args))

	broken := errors.New("the restore fails")
	for name, fails := range map[string]error{"restored": nil, "not restored": broken} {
		for disk, base := range map[string]func() *Updater{
			"first arming": func() *Updater { return mustOpen(t, written.Clone(), slot.A, bootctl.WhyGood) },
			"after a cut":  func() *Updater { return mustOpen(t, marked.Clone(), slot.A, bootctl.WhyGood) },
		} {
			t.Run(disk+", "+name, func(t *testing.T) {
				u := base()
				complete := func() bool {
					_, err := u.dev.Store.Args(bootctl.SystemB)
					return err == nil
				}
				u.dev.Live = true
				mounted := 0
				u.dev.mount = func(string, string, bool, func(*os.Root) error) error {
					mounted++
					if complete() {
						t.Error("slot b looks complete while its files change")
					}
					return fails
				}
				if err := u.Arm(context.Background()); !errors.Is(err, fails) || mounted != 1 {
					t.Fatalf("Arm = %v after %d restores, want %v after one", err, mounted, fails)
				}
				if complete() != (fails == nil) {
					t.Errorf("slot b looks complete at the end: %v", complete())
				}
			})
		}
	}
}
