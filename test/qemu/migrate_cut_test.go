//go:build qemu && long

package qemu

import (
	"encoding/json"
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
	for _, device := range []struct {
		layout string
		tier   migrate.Tier
	}{
		{"L1", migrate.Carve},
		{"L2", migrate.Carve},
		{"L2e", migrate.Carve},
		{"L3", migrate.Carve},
		{"L4", migrate.Carve},
		{"L5", migrate.Carve},
		{"L1", migrate.Gather},
		{"L4", migrate.Gather},
	} {
		t.Run(device.layout+"-"+string(device.tier), func(t *testing.T) {
			t.Parallel()
			m := newMigration(t, device.layout)
			r := recordMigration(m, device.tier)
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
	stage   migrate.StageMap // of gather
	layout  bootctl.Layout
	old     *partition.Table // as it was
	oldLBA0 []byte
	abboot  []byte // SHA-256 of what never changes in it

	// turn is the entry from which on the migrator writes, settled the last one
	// to what never changes in abboot.
	turn, settled int

	sound map[string]bool // systems that were looked into
	// The old system is no way back any more; what is left of it may go.
	givenUp, finished bool
	turns, others     []migrateSample
	judged            int
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

func recordMigration(m *migration, tier migrate.Tier) *migrateReplay {
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
	m.abupdate(0, "--quiet migrate prepare --slot-size 400MiB --tier "+string(tier)+" "+m.url(releaseGood))
	m.abupdate(0, "--quiet migrate start --no-reboot --accept-no-return")
	r.acknowledge(bootctl.SystemMigrator.String())
	m.on("systemd-run --no-block systemctl reboot")
	m.bootsNew(releaseGood, "a", "trial")
	r.acknowledge("a")
	m.isGood()
	m.finishes()
	m.on("sync")
	end := len(r.open().Entries)
	m.powerOff()
	m.judgeDisk()
	r.log = r.open()
	r.log.Entries = r.log.Entries[:end]
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
	if at := r.journal.Stage; at != nil {
		text := make([]byte, at.Map.Size)
		_, err = dev.ReadAt(text, at.Map.Start)
		r.must(err)
		r.must(json.Unmarshal(text, &r.stage))
	}
	for i, e := range r.log.Entries {
		at := migrate.Region{Start: e.Off, Size: e.Len}
		if r.turn == 0 && i >= r.acks[1].entries && overlap(at, migrate.Region{Start: r.layout.State.Off, Size: r.layout.State.Len}) {
			r.turn = i
		}
		if slices.ContainsFunc(r.constants(), func(c migrate.Region) bool { return overlap(at, c) }) {
			r.settled = i
		}
	}
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
	m := r.of(t)
	m.disk = filepath.Join(t.TempDir(), "cut.img")
	m.must(vm.CopyDisk(m.disk, r.before))
	f, err := os.OpenFile(m.disk, os.O_RDWR, 0)
	m.must(err)
	m.must(errors.Join(r.log.Replay(s.Cut, f), f.Close()))
	// The firmware's variables are not in the record: those of the end from the
	// acknowledgement of start on, those of a new machine before.
	m.variables = ""
	if m.layout.UEFI && s.Durable >= r.acks[1].entries {
		m.variables = filepath.Join(t.TempDir(), "vars.fd")
		m.must(vm.CopyDisk(m.variables, r.variables))
	}
	m.powerOn(vm.Disk{})
	got := m.says(`(?:oldsystem: layout=|gateway: version=)\S* slot=(\S*) `)
	out, code := m.try(adminPassword, "hostname")
	if code != 0 || strings.TrimSpace(out) == "" {
		t.Errorf("after the cut: %d, %q", code, out)
	}
	t.Logf("%s, %v: %s", s.name, s.Cut, got[0])
}
