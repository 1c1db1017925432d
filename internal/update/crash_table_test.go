package update

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/slot"
)

// station is a phase, on a disk, and the command that leads on from it.
type station struct {
	phase   Phase
	disk    *blockdevtest.Disk
	running slot.ID
	why     bootctl.Why
	command func(*Updater) error
	then    Phase // after the command
}

// stations brings a device through every phase.
func (b *bed) stations(t *testing.T) []station {
	t.Helper()
	ctx := context.Background()
	applied := func(u *Updater) error { _, err := apply(u, b.path, ApplyOptions{}); return err }
	arm := func(u *Updater) error { return u.Arm(ctx) }
	back := func(u *Updater) error { _, err := u.Rollback(ctx, false); return err }

	idle := b.base.Clone()
	writing := idle.Clone()
	writing.Inject(blockdevtest.Fault{At: 12, Err: unix.EIO, Sticky: true}) // the process dies among the frames
	if err := applied(mustOpen(t, writing, slot.A, bootctl.WhyGood)); err == nil {
		t.Fatal("an apply with a dead disk succeeded")
	}
	written := idle.Clone()
	must(t, applied(mustOpen(t, written, slot.A, bootctl.WhyGood)))
	armed := written.Clone()
	must(t, arm(mustOpen(t, armed, slot.A, bootctl.WhyGood)))
	trial := armed.Clone()
	spendTry(t, mustOpen(t, trial, slot.A, bootctl.WhyGood))
	last := trial.Clone() // both systems have been good, and then both were not
	u := mustOpen(t, last, slot.B, bootctl.WhyTrial)
	must(t, u.Commit())
	must(t, u.dev.Store.SetState(bootctl.State{Seq: 1, Primary: slot.A, BKind: bootctl.KindSlot}))

	return []station{
		{PhaseIdle, idle.Clone(), slot.A, bootctl.WhyGood, applied, PhaseWritten},
		{PhaseWriting, writing.Clone(), slot.A, bootctl.WhyGood, applied, PhaseWritten},
		{PhaseWritten, written.Clone(), slot.A, bootctl.WhyGood, arm, PhaseArmed},
		{PhaseArmed, armed.Clone(), slot.A, bootctl.WhyGood, back, PhaseIdle},
		{PhaseTrial, trial.Clone(), slot.B, bootctl.WhyTrial, (*Updater).Commit, PhaseIdle},
		{PhaseLastResort, last.Clone(), slot.A, bootctl.WhyLastResort, (*Updater).Commit, PhaseIdle},
	}
}

// run opens the device and does the command, if the phase is still the one
// that it leads on from; a phase further on is where it was to lead.
func (s station) run(disk *blockdevtest.Disk) error {
	u, err := updater(disk, s.running, s.why)
	if err != nil || u.Facts().Phase() == s.then {
		return err
	}
	return s.command(u)
}

// arrived fails the test unless the command has led to where it should.
func (s station) arrived(t *testing.T, disk *blockdevtest.Disk) {
	t.Helper()
	if got := mustOpen(t, disk.Clone(), s.running, s.why).Facts().Phase(); got != s.then {
		t.Fatalf("phase %v, want %v", got, s.then)
	}
}

// events are what happens to a device in any phase.
var events = []struct {
	name   string
	happen func(t *testing.T, b *bed, s station)
}{
	{"nothing", func(t *testing.T, _ *bed, s station) { must(t, s.run(s.disk)); s.arrived(t, s.disk) }},
	{"error", func(t *testing.T, b *bed, s station) { b.fault(t, s, blockdevtest.Fault{Err: unix.EIO}) }},
	{"full disk", func(t *testing.T, b *bed, s station) {
		b.fault(t, s, blockdevtest.Fault{Err: unix.ENOSPC, Sticky: true, Short: true})
	}},
	{"kill", func(t *testing.T, b *bed, s station) {
		b.fault(t, s, blockdevtest.Fault{Err: unix.EINTR, Sticky: true})
	}},
	{"reboot", reboots},
	{"power cut", powerCut},
	{"second agent", secondAgent},
	{"clock jump", clockJump},
	{"network loss", networkLoss},
}

// TestCrashStateTable: in each phase, whatever happens, a complete system
// boots and the same command done again leads to where it was to lead.
func TestCrashStateTable(t *testing.T) {
	b := newBed(t, 0)
	for _, s := range b.stations(t) {
		if got := mustOpen(t, s.disk.Clone(), s.running, s.why).Facts().Phase(); got != s.phase {
			t.Fatalf("phase %v, want %v", got, s.phase)
		}
		for _, e := range events {
			t.Run(fmt.Sprintf("%v, %s", s.phase, e.name), func(t *testing.T) {
				own := s
				own.disk = s.disk.Clone()
				e.happen(t, b, own)
			})
		}
	}
}

// fault lets each operation of the command fail in turn. The next process runs
// on the same boot and the same disk, without the fault.
func (b *bed) fault(t *testing.T, s station, f blockdevtest.Fault) {
	step := 1
	if blockdevtest.Scale() == 1 && s.command != nil && s.then == PhaseWritten {
		step = 7 // each is an update
	}
	for f.At = 0; ; f.At += step {
		disk := s.disk.Clone()
		disk.Inject(f)
		err := s.run(disk)
		if disk.Ops() <= f.At {
			must(t, err)
			return
		}
		disk = disk.Clone()
		if !errors.Is(err, f.Err) {
			t.Fatalf("operation %d failed, and the error is %v", f.At, err)
		}
		if _, _, err := b.powerOn(disk.Clone()); err != nil {
			t.Fatalf("operation %d failed: %v", f.At, err)
		}
		if err := s.run(disk); err != nil && !errors.Is(err, ErrNothing) {
			t.Fatalf("operation %d failed; again: %v", f.At, err)
		}
		s.arrived(t, disk)
	}
}

// reboots starts the device in the middle of things: GRUB and a new agent must
// make sense of the phase.
func reboots(t *testing.T, b *bed, s station) {
	must(t, b.update(s.disk))
	if id, why, err := b.powerOn(s.disk); err != nil || (id != slot.B || why != bootctl.WhyGood) && s.phase != PhaseLastResort {
		t.Fatalf("slot %v (%v), %v", id, why, err)
	}
}

func powerCut(t *testing.T, b *bed, s station) {
	blockdevtest.Campaign{
		Base: s.disk, Run: s.run,
		Check: func(c blockdevtest.Crash) error { _, _, err := b.powerOn(c.Disk); return err },
	}.Test(t)
}

// secondAgent: the lock keeps a second writer out, and not a reader.
func secondAgent(t *testing.T, _ *bed, s station) {
	path := filepath.Join(t.TempDir(), "disk.img")
	content := make([]byte, diskSize)
	_, err := s.disk.ReadAt(content, 0)
	must(t, err)
	must(t, os.WriteFile(path, content, 0o600))
	first, err := OpenImage(path, ReadWrite)
	must(t, err)
	if d, err := OpenImage(path, ReadWrite); !errors.Is(err, ErrLocked) {
		t.Errorf("the second writer: %v, %v", d, err)
	}
	reader, err := OpenImage(path, ReadOnly)
	must(t, err)
	must(t, errors.Join(reader.Close(), first.Close()))
	again, err := OpenImage(path, ReadWrite)
	must(t, err)
	must(t, again.Close())
}

// clockJump: nothing is decided by the wall clock.
func clockJump(t *testing.T, _ *bed, s station) {
	for _, year := range []int{1, 1970, 2099, 9999} {
		disk := s.disk.Clone()
		dev, err := OnDisk(disk, s.running, s.why)
		must(t, err)
		jumps := 0
		u, err := Open(dev, Options{AgentVersion: "1.0.0", Now: func() time.Time {
			jumps++
			return time.Date(year, 1, jumps%28+1, 0, 0, 0, 0, time.UTC)
		}})
		must(t, err)
		must(t, s.command(u))
		s.arrived(t, disk)
	}
}

// networkLoss: the server goes away in the middle of the bundle, and a later
// run goes on. A system that is not committed does not even ask the server.
func networkLoss(t *testing.T, b *bed, s station) {
	whole, err := os.ReadFile(b.path)
	must(t, err)
	broken, asked := true, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if broken && asked > 1 {
			http.Error(w, "gone", http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
		if broken {
			w.Write(whole[:len(whole)/2]) // and the connection breaks
			return
		}
		w.Write(whole)
	}))
	defer server.Close()
	fetch := func() error {
		u := mustOpen(t, s.disk, s.running, s.why)
		if _, err := Decide(u.Facts(), CommandApply); err != nil {
			return err
		}
		ctx := context.Background()
		src, err := source.Open(ctx, server.URL+"/b.abu", nil, source.Options{IdleTimeout: time.Second})
		if err != nil {
			return err
		}
		defer src.Close()
		_, err = u.Apply(ctx, src, ApplyOptions{})
		return err
	}
	if s.phase == PhaseTrial || s.phase == PhaseLastResort {
		if err := fetch(); !errors.Is(err, ErrNotCommitted) || asked > 0 {
			t.Fatalf("%v, and the server was asked %d times", err, asked)
		}
		must(t, s.run(s.disk))
		s.arrived(t, s.disk)
		return
	}
	if err := fetch(); !errors.Is(err, source.ErrDownload) {
		t.Fatalf("half a bundle: %v", err)
	}
	if id, why, err := b.powerOn(s.disk.Clone()); err != nil || id != slot.A || why != bootctl.WhyGood {
		t.Fatalf("half a bundle: slot %v (%v), %v", id, why, err)
	}
	broken = false
	must(t, fetch())
	s.then = PhaseWritten
	s.arrived(t, s.disk)
}

// TestCrashLostBootState: with both copies of the boot state gone, the system
// that runs is committed again, and the next shutdown does not arm the other
// one, an older system that was good once.
func TestCrashLostBootState(t *testing.T) {
	b := newBed(t, 0)
	must(t, b.update(b.base))
	for _, env := range b.layout.Env {
		_, err := b.base.WriteAt(make([]byte, bootctl.EnvSize), env.Off)
		must(t, err)
	}
	id, why, err := b.powerOn(b.base)
	must(t, err)
	u := mustOpen(t, b.base, id, why)
	must(t, u.Commit())
	must(t, u.Arm(context.Background()))
	if again, why, err := b.powerOn(b.base); err != nil || again != id || why != bootctl.WhyGood {
		t.Errorf("slot %v was committed, and slot %v boots (%v), %v", id, again, why, err)
	}
}

// TestCrashApplyCancelled: Ctrl-C at any moment of an apply leaves a device
// that boots the running slot, and the same command goes on.
func TestCrashApplyCancelled(t *testing.T) {
	b := newBed(t, 0)
	for n := range 4 * min(4, blockdevtest.Scale()) {
		disk := b.base.Clone()
		ctx, cancel := context.WithCancel(context.Background())
		dev, err := OnDisk(disk, slot.A, bootctl.WhyGood)
		must(t, err)
		calls := 0
		u, err := Open(dev, Options{AgentVersion: "1.0.0", Progress: func(string, int64, int64) {
			if calls++; calls > n {
				cancel()
			}
		}})
		must(t, err)
		src, err := source.Open(ctx, b.path, nil, source.Options{})
		must(t, err)
		_, err = u.Apply(ctx, src, ApplyOptions{})
		src.Close()
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled after %d reports: %v", n, err)
		}
		if id, why, err := b.powerOn(disk.Clone()); err != nil || id != slot.A || why != bootctl.WhyGood {
			t.Fatalf("cancelled after %d reports: slot %v (%v), %v", n, id, why, err)
		}
		must(t, b.update(disk.Clone()))
	}
}
