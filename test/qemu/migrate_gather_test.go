//go:build qemu && long

package qemu

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/test/qemu/vm"
)

// TestMigrateGather streams a system over the old one from a bundle that does
// not fit into memory. Its trials fail until there is nothing left but the
// rescue: the administrator logs in to the migrator as to the old system, and
// the next attempt, which is told to, succeeds.
func TestMigrateGather(t *testing.T) {
	t.Parallel()
	m := newMigrationOn(t, "L1", 2560, smallHome, smallData)
	source := m.url(releaseLarge)
	if st, err := os.Stat(m.vendor.file(releaseLarge)); err != nil || st.Size() < 600<<20 {
		t.Fatalf("the bundle: %v, %v", st, err)
	}
	m.second = m.trouble("panics")
	m.powerOn(vm.Disk{})
	m.bootsOld("none")
	data := m.customerData("/home", "/srv", "/opt")
	m.abupdate(0, "--quiet migrate prepare --tier gather --slot-size 1100MiB "+source)
	m.abupdate(60, "migrate start") // not without having been told what it means
	m.leave("--quiet migrate start --accept-no-return")
	for range 3 { // until the migrator gives up
		m.takesLittle()
		for range 2 { // tries of a trial
			m.says("breaks: panic")
		}
	}
	m.takesLittle()
	m.says(`ssh root@10\.0\.2\.77`)
	if out, code := m.try(rootKey, "status"); code != 0 || !strings.Contains(out, "3 failures") {
		t.Errorf("status of the migrator: %d, %s", code, out)
	}
	if out, code := m.login(rootPassword, "status"); code == 0 && !strings.Contains(out, "Permission denied") {
		t.Errorf("a password got in: %s", out)
	}
	if out, _ := m.try(rootKey, "log"); !strings.Contains(out, "streaming the new system") {
		t.Errorf("log of the migrator: %s", out)
	}
	m.must(os.WriteFile(m.second, make([]byte, 4096), 0o600))
	m.try(rootKey, "retry")
	m.takesLittle()
	m.bootsNew(releaseLarge, "a", "trial")
	m.isGood()
	m.finishes()
	m.updates(data)
}

// takesLittle waits for the end of a migrator's turn, and bounds its memory.
func (m *migration) takesLittle() {
	m.t.Helper()
	const limit = 64 << 10
	got := m.says(`peak memory (\d+) kB`)
	kib, err := strconv.Atoi(got[1])
	m.must(err)
	m.t.Logf("the migrator took %d KiB at most", kib)
	if kib > limit {
		m.t.Errorf("that is more than %d", limit)
	}
}

// trouble makes a disk that tells a release to fail.
func (m *migration) trouble(how string) string {
	m.t.Helper()
	path := m.disk + ".trouble"
	block := make([]byte, 4096)
	copy(block, how)
	m.must(os.WriteFile(path, block, 0o600))
	return path
}
