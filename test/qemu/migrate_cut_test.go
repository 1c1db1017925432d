//go:build qemu && long

package qemu

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/test/qemu/logwrites"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// What the firmware of a device starts, besides the systems of our GRUB.
const byOldLoader = "the old loader"

// migrateBoots is how many disks of each layout a machine starts from.
const migrateBoots = 15

// TestMigratePowerCuts records each write of a whole migration, from prepare
// to the end of finish, and judges the disk as if the power had gone before
// each of them, with the cache written out in order, or in part and in another
// order. Real machines start from a sample.
func TestMigratePowerCuts(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{"L1", "L2", "L2e", "L3", "L4", "L5"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			m := newMigration(t, layout)
			r := recordMigration(m)
			r.judgeAll()
			for _, s := range r.samples() {
				t.Run("boot "+s.name, func(t *testing.T) { r.boot(t, s) })
			}
		})
	}
}

// migrateReplay judges a recorded migration.
type migrateReplay struct {
	*migration
	dir, before, path string
	variables         string // of the firmware, as they are at the end
	log               *logwrites.Log
	acks              []migrateAck
	rng               *rand.Rand

	journal *migrate.Journal
	layout  bootctl.Layout
	old     *partition.Table // as it was
	oldLBA0 []byte
	abboot  []byte // SHA-256 of what never changes in it

	sound         map[string]bool // conditions that were looked into
	turns, others []migrateSample
	judged        int
}

// migrateAck is something that the device has said to be done: what may boot
// from then on.
type migrateAck struct {
	entries int
	what    []string
}

type migrateSample struct {
	name, what string
	logwrites.Cut
}

func recordMigration(m *migration) *migrateReplay {
	m.t.Helper()
	dir := m.t.TempDir()
	r := &migrateReplay{
		migration: m, dir: dir, before: filepath.Join(dir, "before.img"), path: filepath.Join(dir, "writes"),
		variables: filepath.Join(dir, "vars.fd"), rng: rand.New(rand.NewPCG(2026, uint64(len(m.t.Name())))), sound: map[string]bool{},
	}
	m.must(vm.CopyDisk(r.before, m.disk))
	m.variables = r.variables
	r.acks = []migrateAck{{0, []string{byOldLoader}}}
	m.powerOn(vm.Disk{WriteLog: r.path})
	m.bootsOld("none")
	m.abupdate(0, "migrate prepare --slot-size 400MiB "+m.url(releaseGood))
	m.abupdate(0, "migrate start --no-reboot")
	r.acknowledge("migrator")
	m.on("systemd-run --no-block systemctl reboot")
	m.bootsNew(releaseGood, "a", "trial")
	r.acknowledge("a")
	m.committed("a")
	m.abupdate(0, "migrate finish")
	m.on("sync")
	m.must(m.machine.Close())
	r.log = r.open()
	r.readEnd()
	return r
}

// acknowledge notes what boots if the power goes now.
func (r *migrateReplay) acknowledge(what ...string) {
	r.t.Helper()
	r.acks = append(r.acks, migrateAck{len(r.open().Entries), what})
}

func (r *migrateReplay) open() *logwrites.Log {
	r.t.Helper()
	f, err := os.Open(r.path)
	r.must(err)
	r.t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	r.must(err)
	log, err := logwrites.Open(f, st.Size())
	r.must(err)
	return log
}

// readEnd learns from the finished disk where everything has lain.
func (r *migrateReplay) readEnd() {
	r.t.Helper()
	old, err := blockdev.Open(r.before, blockdev.Options{})
	r.must(err)
	defer old.Close()
	r.old, err = partition.Read(old)
	r.must(err)
	r.oldLBA0 = make([]byte, 512)
	_, err = old.ReadAt(r.oldLBA0, 0)
	r.must(err)

	dev, err := blockdev.Open(r.disk, blockdev.Options{})
	r.must(err)
	defer dev.Close()
	off, err := bootctl.Find(dev)
	r.must(err)
	st, err := bootctl.Open(dev, off)
	r.must(err)
	r.layout = st.Layout()
	r.journal, err = migrate.RecordedJournal(st)
	r.must(err)
	r.abboot, err = r.constant(r.disk)
	r.must(err)
}

// samples are disks around each change of what boots, and others.
func (r *migrateReplay) samples() []migrateSample {
	list := r.turns[:min(len(r.turns), migrateBoots-5)]
	r.rng.Shuffle(len(r.others), func(i, k int) { r.others[i], r.others[k] = r.others[k], r.others[i] })
	return append(slices.Clone(list), r.others[:migrateBoots-len(list)]...)
}

// boot starts a machine from the disk after a cut. It must come up by itself,
// with one system or the other.
func (r *migrateReplay) boot(t *testing.T, s migrateSample) {
	m := *r.migration
	m.t, m.disk = t, filepath.Join(t.TempDir(), "cut.img")
	m.must(vm.CopyDisk(m.disk, r.before))
	f, err := os.OpenFile(m.disk, os.O_RDWR, 0)
	m.must(err)
	m.must(errors.Join(r.log.Replay(s.Cut, f), f.Close()))
	if m.layout.UEFI {
		m.variables = filepath.Join(t.TempDir(), "vars.fd")
		m.must(vm.CopyDisk(m.variables, r.variables))
	}
	m.powerOn(vm.Disk{})
	got := m.says(`(?:oldsystem: layout=|gateway: version=)\S* slot=(\S*)`)
	out, code := m.try(adminPassword, "hostname")
	if code != 0 || strings.TrimSpace(out) == "" {
		t.Errorf("after the cut: %d, %q", code, out)
	}
	t.Logf("%s, %v: %s", s.name, s.Cut, got[0])
}
