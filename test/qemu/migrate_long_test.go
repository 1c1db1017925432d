//go:build qemu && long

package qemu

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/test/qemu/vm"
)

// TestMigrateEveryLayout does what TestMigrateBIOS does on each layout, with every
// release that fails before the good one. L1 has 2 GB of customers' data.
func TestMigrateEveryLayout(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{"L1", "L2", "L2e", "L3", "L4", "L5"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			home, data := int64(smallHome), int64(smallData)
			if layout == "L1" {
				home, data = 2400, 2000
			}
			m := newMigrationOn(t, layout, 0, home, data)
			m.powerOn(vm.Disk{})
			m.bootsOld("none")
			before := m.oldFiles()
			for _, bad := range slices.Sorted(maps.Keys(badReleases)) {
				t.Run(bad, func(t *testing.T) { m.of(t).goesHome(bad, before) })
			}
			t.Run("good", func(t *testing.T) { m.of(t).migrates() })
		})
	}
}

// of is the same device in a subtest.
func (m *migration) of(t *testing.T) *migration {
	c := *m
	c.t = t
	return &c
}

// TestMigrateRefusals: what cannot work is said, and changes nothing.
func TestMigrateRefusals(t *testing.T) {
	t.Parallel()
	m := newMigration(t, "L1")
	m.powerOn(vm.Disk{})
	m.bootsOld("none")
	before := m.oldFiles()
	good := m.url(releaseGood)

	// Each is undone again; %s is the good bundle's address.
	const filler = "/var/tmp/filler"
	for _, r := range []struct {
		name, before, command string
		code                  int
		says                  string
		after                 string
	}{
		{name: "no such bundle", command: "migrate prepare --slot-size 400MiB " + strings.Replace(good, releaseGood, "9.9.9", 1), code: 20, says: "404"},
		{name: "a bundle of somebody else", command: "migrate prepare --slot-size 400MiB " + m.foreign("stranger"), code: 11, says: "sign"},
		{name: "a changed bundle", command: "migrate prepare --slot-size 400MiB " + m.damaged(), code: 20, says: "damaged", after: "abupdate migrate abort"},
		{
			name: "a disk that is 95 % full", command: "migrate prepare --slot-size 400MiB " + good, code: 60, says: "room",
			before: "free=$(df -B1 --output=avail / | tail -1); size=$(df -B1 --output=size / | tail -1); fallocate -l $((free - size / 20)) " + filler, after: "rm " + filler,
		},
		{
			name: "a fragmented file system", command: "migrate prepare --tier carve --slot-size 400MiB " + good, code: 60, says: "contiguous",
			before: "mkdir " + filler + "; cd " + filler + "; n=0; while fallocate -l 8M $n 2>/dev/null; do n=$((n+1)); done; rm -f *[13579]; true", after: "rm -r " + filler,
		},
		{name: "a root file system that is read-only", command: "migrate prepare --slot-size 400MiB " + good, code: 60, says: "read-only", before: "mount -o remount,ro / || { sync; systemctl stop systemd-journald.socket systemd-journald 2>/dev/null; mount -o remount,ro /; }", after: "mount -o remount,rw /"},
		{name: "start without prepare", command: "migrate start", code: 60, says: "prepare"},
		{name: "finish without a migration", command: "migrate finish", code: 60, says: ""},
		{name: "abort without a migration", command: "migrate abort", code: 3, says: ""},
	} {
		t.Log(r.name)
		if r.before != "" {
			m.on(r.before)
		}
		out := m.abupdate(r.code, r.command)
		if !strings.Contains(strings.ToLower(out), r.says) {
			t.Errorf("%s: it does not say %q", r.name, r.says)
		}
		if r.after != "" {
			m.on(r.after)
		}
		m.unchanged(before)
		if left := m.on("ls /var/lib/abupdate/migrate 2>/dev/null || true"); strings.Contains(left, "slot-a") || strings.Contains(left, "abboot") {
			t.Errorf("%s: carved files are left: %q", r.name, left)
		}
	}

	t.Log("prepare twice, and abort; a /boot that is read-only is not in the way")
	m.on("mount -o remount,ro /boot")
	m.abupdate(0, "migrate prepare --slot-size 400MiB "+good)
	m.abupdate(0, "migrate prepare --slot-size 400MiB "+good)
	m.abupdate(0, "migrate abort")
	m.on("mount -o remount,rw /boot")
	m.unchanged(before)
	if p := m.plan(good); len(p.Refusals) > 0 {
		t.Errorf("after abort the plan refuses: %+v", p.Refusals)
	}
}

// foreign is the good bundle's content, signed by a stranger.
func (m *migration) foreign(name string) string {
	m.t.Helper()
	v := m.vendor
	_, err := v.once(name+".abu", func(path string) error {
		for _, c := range [][]string{
			{v.agent, "keyring", "create", "--keyring", name + ".json"},
			{v.agent, "keyring", "add", "--keyring", name + ".json", "--generate", name + ".pem"},
			{v.agent, "bundle", "extract", "--keyring", "keyring.json", "--out", name + ".d", releaseGood + ".abu"},
			{
				v.agent, "bundle", "create", "--rootfs", name + ".d/rootfs.img", "--boot", "boot.tar", "--product", "gateway", "--version", releaseGood,
				"--compatible", migrateCompatible, "--key", name + ".pem", "--level", "1", "--out", path,
			},
		} {
			if err := v.run(m.t.Context(), c...); err != nil {
				return err
			}
		}
		return nil
	})
	m.must(err)
	u, err := v.url(name + ".abu")
	m.must(err)
	return u
}

// damaged is the good bundle with one bit of a frame changed.
func (m *migration) damaged() string {
	m.t.Helper()
	v := m.vendor
	_, err := v.once("damaged.abu", func(path string) error {
		good := strings.Replace(path, "damaged", releaseGood, 1)
		return v.run(m.t.Context(), "sh", "-c", fmt.Sprintf(
			`cp %s %s && n=$(($(stat -c %%s %s) - 8000000)) && printf 'X' | dd of=%s bs=1 seek=$n conv=notrunc status=none`, good, path, path, path))
	})
	m.must(err)
	u, err := v.url("damaged.abu")
	m.must(err)
	return u
}
