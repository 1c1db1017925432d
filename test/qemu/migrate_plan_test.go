//go:build qemu && long

package qemu

import (
	"testing"

	"github.com/abupdate/abupdate/test/qemu/vm"
)

// TestMigratePlanLive asks each old system, running, for its plan.
func TestMigratePlanLive(t *testing.T) {
	t.Parallel()
	for _, want := range []struct {
		name, layout, mode string
		borrowed           int
	}{
		{name: "L1", layout: "L1", mode: "in-place"},
		{name: "L2", layout: "L2", mode: "copy", borrowed: 2},
		{name: "L2e", layout: "L2", mode: "copy", borrowed: 2},
		{name: "L3", layout: "L3", mode: "copy"},
		{name: "L4", layout: "L4", mode: "in-place"},
		{name: "L5", layout: "L5", mode: "copy"},
	} {
		t.Run(want.name, func(t *testing.T) {
			t.Parallel()
			m := newMigration(t, want.name)
			source, err := m.vendor.bundle(t.Context(), "2.0.0")
			m.must(err)
			m.powerOn(vm.Disk{})
			m.bootsOld("none")
			for _, l := range allLogins {
				if out, code := m.try(l, "id -un"); code != 0 || out != l.user+"\n" {
					t.Errorf("login %+v: %d, %q", l, code, out)
				}
			}
			if failed := m.on("systemctl --failed --no-legend --plain"); failed != "" {
				t.Errorf("units of the old system that failed:\n%s", failed)
			}
			m.abupdate(0, "migrate plan --slot-size 400MiB "+source)
			p := m.plan(source)
			if p.Layout != want.layout || p.Tier != "carve" || p.Data.Mode != want.mode || p.Switch.BorrowedEntry != want.borrowed {
				t.Errorf("the plan is %+v, want %+v", p, want)
			}
			for _, tree := range []string{"/home", "/srv", "/opt"} {
				if got := p.fate(tree); got != "carried" {
					t.Errorf("%s is %s, want carried", tree, got)
				}
			}
			if got := p.fate("/var/log"); got != "dropped" {
				t.Errorf("/var/log is %s, want dropped", got)
			}
		})
	}
}
