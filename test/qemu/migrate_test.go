//go:build qemu && long

package qemu

import (
	"errors"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/test/qemu/vm"
)

// TestMigrate takes a device of each firmware through a whole migration, up to
// the first ordinary update.
func TestMigrate(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{"L1", "L4"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			m := newMigration(t, layout)
			m.powerOn(vm.Disk{})
			m.bootsOld("none")
			m.migrates()
		})
	}
}

// goesHome starts a migration to a release that fails, and expects the old
// system to come back by itself, to know why, and to be as it was.
func (m *migration) goesHome(release, reason string, before manifest) {
	m.t.Helper()
	m.start(release)
	m.bootsOld("old")
	m.reachableAsOld()
	out, _ := m.try(rootKey, "abupdate migrate status")
	m.t.Logf("after %s: abupdate migrate status:\n%s", release, out)
	if !strings.Contains(out, reason) {
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
}

// migrates goes all the way: the new system, committed, with everything that
// it has to keep; the end of the old one; an ordinary update.
func (m *migration) migrates() {
	m.t.Helper()
	data := m.customerData("/home", "/srv", "/opt")
	m.start(releaseGood)
	m.bootsNew(releaseGood, "a", "trial")
	m.reachableAsBefore()
	m.committed("a")
	m.abupdate(0, "migrate status")
	m.abupdate(60, "apply "+m.url(releaseNext))

	m.abupdate(0, "migrate finish")
	m.abupdate(0, "migrate status")

	m.abupdate(0, "apply "+m.url(releaseNext))
	m.on("systemd-run --no-block systemctl reboot")
	m.bootsNew(releaseNext, "b", "trial")
	m.committed("b")
	m.reachableAsBefore()
	m.sameData(data)
	m.powerOff()
	m.judgeDisk()
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
	}
	return trees
}

// sameData compares customers' trees with what is on the data partition. The
// file system of /home, where it was one for itself, has become the data
// partition; the other trees have been copied into it.
func (m *migration) sameData(trees map[string]manifest) {
	m.t.Helper()
	m.on("grep -o ab.data=[^ ]* /proc/cmdline; ls -l /dev/disk/by-abupdate /dev/disk/by-partuuid; cat /proc/partitions; for p in /sys/class/block/vda?; do echo $p $(cat $p/start); done; true")
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
