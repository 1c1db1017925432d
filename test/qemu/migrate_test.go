//go:build qemu

package qemu

import (
	"errors"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/test/qemu/vm"
)

// TestMigrateBIOS takes a device through a migration that fails and, on the same
// device, one that goes all the way to the first ordinary update. It and
// TestMigrateUEFI take longest: as subtests of one they would wait behind all
// other tests.
func TestMigrateBIOS(t *testing.T) {
	t.Parallel()
	m := newMigration(t, "L1")
	m.powerOn(vm.Disk{})
	m.bootsOld("none")
	m.goesHome(releasePanics, m.oldFiles())
	m.migrates()
}

// TestMigrateUEFI is the migration that goes well; those that fail on UEFI are
// among TestMigrateEveryLayout's.
func TestMigrateUEFI(t *testing.T) {
	t.Parallel()
	m := newMigration(t, "L4")
	m.powerOn(vm.Disk{})
	m.bootsOld("none")
	m.migrates()
}

// goesHome starts a migration to a release that fails, and expects the old
// system to come back by itself, to know why, and to be as it was.
func (m *migration) goesHome(release string, before manifest) {
	m.t.Helper()
	m.start(release)
	m.bootsOld("old")
	m.reachableAsOld()
	out, _ := m.try(rootKey, "abupdate migrate status")
	m.t.Logf("after %s: abupdate migrate status:\n%s", release, out)
	if reason := badReleases[release]; !strings.Contains(out, reason) {
		m.t.Errorf("abupdate migrate status does not say %q", reason)
	}
	m.unchanged(before)
}

// start prepares and starts a migration; the device reboots.
func (m *migration) start(release string) {
	m.t.Helper()
	m.abupdate(0, "--quiet migrate prepare --slot-size 400MiB "+m.url(release))
	m.abupdate(0, "migrate status")
	m.leave("--quiet migrate start")
}

// leave runs a command of abupdate that ends in a reboot, perhaps before its
// exit code has come through.
func (m *migration) leave(command string) {
	m.t.Helper()
	out, code, err := m.ssh(m.t.Context(), rootKey, "abupdate "+command)
	m.t.Logf("abupdate %s: exit code %d, %v\n%s", command, code, err, out)
	if err != nil && !errors.Is(err, errNotReachable) || code != 0 {
		m.t.Fatalf("abupdate %s: exit code %d, %v", command, code, err)
	}
}

// reachableAsOld is a short form of reachableAsBefore for the old system,
// which needs no proof of its files.
func (m *migration) reachableAsOld() {
	m.t.Helper()
	if out, code := m.try(adminPassword, "cat /etc/oldsystem"); code != 0 || out != m.layout.Name+"\n" {
		m.t.Errorf("the old system: %d, %q", code, out)
	}
	// The units of a slot have nothing to do there.
	if out := m.on("systemctl show -p ActiveState -p NRestarts --value abupdate-health abupdate-arm | sort -u | tr '\\n' ' '"); strings.TrimSpace(out) != "0 inactive" {
		m.t.Errorf("abupdate's units on the old system: %q", out)
	}
}

// migrates goes all the way, up to the first ordinary update.
func (m *migration) migrates() {
	m.t.Helper()
	data := m.customerData("/home", "/srv", "/opt")
	m.start(releaseGood)
	m.bootsNew(releaseGood, "a", "trial")
	m.isGood()
	m.finishes()
	m.updates(data)
}

// isGood wants the new system, committed, with everything that it has to keep.
func (m *migration) isGood() {
	m.t.Helper()
	m.reachableAsBefore()
	m.committed("a")
	m.abupdate(0, "migrate status")
	m.abupdate(60, "apply "+m.url(releaseNext))
}

// finishes ends the old system.
func (m *migration) finishes() {
	m.t.Helper()
	m.abupdate(0, "migrate finish")
	m.abupdate(0, "migrate status")
}

// updates fills slot b by an ordinary update, and judges what has become of
// the disk.
func (m *migration) updates(data map[string]manifest) {
	m.t.Helper()
	m.abupdate(0, "--quiet apply "+m.url(releaseNext))
	m.on("systemd-run --no-block systemctl reboot")
	m.bootsNew(releaseNext, "b", "trial")
	m.committed("b")
	m.reachableAsBefore()
	m.sameData(data)
	if out := m.abupdate(60, "migrate prepare "+m.url(releaseNext)); !strings.Contains(out, "A/B device already") {
		m.t.Error("prepare on an A/B device does not say why not")
	}
	m.powerOff()
	m.judgeDisk()
	if m.layout.UEFI {
		// Each machine here begins with a firmware that knows no boot entry, and
		// finds the old system's loader: that must lead to the new one.
		m.powerOn(vm.Disk{})
		m.bootsNew(releaseNext, "b", "good")
		m.powerOff()
	}
}

func (m *migration) url(release string) string {
	m.t.Helper()
	u, err := m.vendor.bundle(m.t.Context(), release)
	m.must(err)
	return u
}

// customerData lists trees of the old system.
func (m *migration) customerData(dirs ...string) map[string]manifest {
	m.t.Helper()
	trees := map[string]manifest{}
	for _, dir := range dirs {
		trees[dir] = m.manifestOf(dir, "-xdev")
		if len(trees[dir]) == 0 {
			m.t.Fatalf("no file below %s", dir)
		}
	}
	return trees
}

// sameData compares customers' trees with what is on the data partition. The
// file system of /home, where it was one for itself, has become the data
// partition; the other trees have been copied into it.
func (m *migration) sameData(trees map[string]manifest) {
	m.t.Helper()
	m.on("mountpoint " + dataDir)
	for dir, before := range trees {
		at, without := dataDir+dir, "-xdev"
		if dir == "/home" && m.layout.HomeVolume() {
			at, without = dataDir, "-xdev ! -path './srv*' ! -path './opt*' ! -path './root*' ! -path './usr*' ! -path './var*'"
		}
		if d := before.differences(m.manifestOf(at, without)); len(d) > 0 {
			m.t.Errorf("%s is not what %s was:\n%s", at, dir, strings.Join(d[:min(len(d), 40)], "\n"))
		}
	}
}
