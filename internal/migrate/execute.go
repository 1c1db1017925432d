package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
)

// Kernel is what the migrator asks of the kernel that it runs on.
type Kernel interface {
	// Map makes a block device of pieces of the disk. One that is there
	// already by that name goes first.
	Map(name string, m partition.DeviceMap, readOnly bool) (node string, err error)
	Unmap(name string) error
	// Mount mounts a device; what is read-only must not be written to by
	// recovering it.
	Mount(node, dir, filesystem string, readOnly bool) error
	Unmount(dir string) error
}

// Migrator carries a migration out: it makes a complete system of slot a while
// the old system does not run, and leaves the boot state so that the next boot
// is the right one, whatever happens.
//
// Invariant: until the point of no return of gather nothing of the old system
// is written; a carve has no such point here. Slot a has a valid args block
// only when it is complete.
type Migrator struct {
	Disk   blockdev.Device
	Store  *bootctl.Store
	Kernel Kernel
	Dir    string // an empty directory to mount in
	Log    *Log
	// Insist: try once more, although the new system has failed too often.
	Insist bool

	journal *Journal
	state   bootctl.State
	// oldBoots: GRUB has an old system. It is the one thing that tells on which
	// side of the point of no return we are.
	oldBoots bool
}

// Outcome is what the boot state leads to when the migrator has ended.
type Outcome uint8

// The outcomes. After each of them the machine is to be rebooted, but for
// Stuck.
const (
	// ToTrial: the new system has its trial.
	ToTrial Outcome = iota + 1
	// ToOld: the old system comes back; the journal says why.
	ToOld
	// Again: the migrator's next turn goes on.
	Again
	// Stuck: there is no old system any more, and the new one has failed again
	// and again.
	Stuck
)

// Run carries out what the journal and the boot state say. Its error is why
// the new system has no trial; what boots next is settled all the same.
func (m *Migrator) Run(ctx context.Context) (Outcome, error) {
	if err := m.begin(); err != nil {
		return Again, err
	}
	task, why := m.task()
	m.Log.Printf("migration to %s %s: phase %s, attempt %d: %v", m.journal.Product, m.journal.Version, m.journal.Phase, m.journal.Attempts, task)
	var err error
	switch task {
	case taskCarve:
		err = m.carve(ctx)
	case taskGather:
		err = m.gather(ctx)
	case taskStream:
		err = m.stream(ctx)
	case taskBack:
		err = errors.New(why)
	case taskWait:
		return Stuck, errors.New(why)
	case taskNothing:
		return Again, errors.New(why)
	}
	if err == nil {
		return ToTrial, nil
	}
	m.Log.Printf("failed: %v", err)
	return m.giveUp(err)
}

// begin reads the state of affairs and counts this turn.
func (m *Migrator) begin() (err error) {
	if m.state, err = m.readState(); err != nil {
		return fmt.Errorf("reading the boot state: %w", err)
	}
	if m.journal, err = RecordedJournal(m.Store); err != nil {
		return err
	}
	if m.journal.DiskSize != m.Disk.Size() {
		return fmt.Errorf("the journal is that of a disk of %d bytes; this one has %d", m.journal.DiskSize, m.Disk.Size())
	}
	_, err = m.Store.Args(bootctl.SystemOld)
	if err != nil && !errors.Is(err, bootctl.ErrInvalid) {
		return err // what cannot be read is not gone
	}
	m.oldBoots = err == nil
	m.journal.Attempts++
	if m.trialFailed() && m.journal.CountedSeq != m.state.Seq {
		m.journal.Failures++
		m.journal.CountedSeq = m.state.Seq
		if m.journal.Reason == "" {
			m.journal.Reason = "it was tried, and did not come up as a good system"
		}
	}
	return m.journal.Record(m.Store)
}

// readState reads the boot state, and makes that of a start again where both
// copies are broken: GRUB then boots the old system before the migrator, so
// there is none any more, and nobody else would ever mend them.
func (m *Migrator) readState() (bootctl.State, error) {
	s, _, err := m.Store.State()
	if errors.Is(err, bootctl.ErrBothBroken) {
		m.Log.Printf("both copies of the boot state were broken: it is rebuilt")
		if _, err := m.Store.Repair(bootctl.SystemMigrator); err != nil {
			return s, err
		}
		s, _, err = m.Store.State()
	}
	// Only a repair leaves the migrator in charge of a finished migration; a cut
	// may have come right behind it.
	if err != nil || !s.Migrate || s.BKind != bootctl.KindSlot {
		return s, err
	}
	if err := m.Store.SetState(bootctl.StartMigration(s, migratorTries)); err != nil {
		return s, err
	}
	s, _, err = m.Store.State()
	return s, err
}

// trialFailed reports whether this is the way back from a trial, with no old
// system to go back to.
func (m *Migrator) trialFailed() bool {
	return m.journal.Tier == Gather && !m.state.Migrate && !m.oldBoots
}

// task is what the migrator has been started for.
type task uint8

const (
	taskCarve   task = iota + 1 // make slot a complete, from the old system
	taskGather                  // pass the point of no return, and stream
	taskStream                  // stream once more
	taskBack                    // give the old system its turn
	taskWait                    // for help, or for better luck
	taskNothing                 // nothing that could be done would help
)

func (t task) String() string {
	switch t {
	case taskCarve:
		return "making slot a complete"
	case taskGather:
		return "preparing to replace the old system"
	case taskStream:
		return "replacing the old system"
	case taskBack:
		return "going back to the old system"
	case taskWait:
		return "waiting"
	case taskNothing:
		return "nothing to do"
	}
	return fmt.Sprintf("migrate.task(%d)", uint8(t))
}

// maxFailures is how often the new system is streamed and tried before the
// migrator stops going round in circles.
const maxFailures = 3

// task goes by what boots, which the boot state and the args blocks say, and
// only then by the journal. why is the reason for not making slot a.
func (m *Migrator) task() (t task, why string) {
	j, gather := m.journal, m.journal.Tier == Gather
	switch {
	case m.state.BKind != bootctl.KindOld:
		return taskNothing, "the migration was finished: the migrator has nothing to do any more"
	case gather && !m.oldBoots && j.Failures >= maxFailures && !m.Insist:
		return taskWait, fmt.Sprintf("the new system has failed %d times: %s", j.Failures, j.Reason)
	case gather && !m.oldBoots:
		return taskStream, ""
	case !m.oldBoots:
		return taskNothing, "the old system is not complete any more, and the new one did not boot"
	case !m.state.Migrate:
		return taskBack, "neither the new system nor the old one could be loaded"
	}
	switch j.Phase {
	case PhaseStarted, PhaseTrial, PhaseStreaming:
		if gather {
			return taskGather, ""
		}
		return taskCarve, ""
	case PhasePreparing, PhasePrepared, PhaseFailed, PhaseCommitted, PhaseFinishing, PhaseDone:
	}
	return taskBack, fmt.Sprintf("the migrator was started in phase %q", j.Phase)
}

// carve makes slot a, which prepare has written, complete.
func (m *Migrator) carve(ctx context.Context) error {
	// It is not valid before the first turn; after a cut in an earlier turn it
	// may be.
	if err := m.Store.InvalidateArgs(bootctl.SystemA); err != nil {
		return err
	}
	manifest, err := m.signedManifest()
	if err != nil {
		return err
	}
	image, ok := manifest.Image(rootImage)
	if !ok {
		return fmt.Errorf("%w: the signed manifest has no image %q", bundle.ErrFormat, rootImage)
	}
	if err := m.verifySlot(ctx, image); err != nil {
		return err
	}
	if err := m.save(func(j *Journal) { j.Restoring = true }); err != nil {
		return err
	}
	args := ""
	err = m.withOld(func(old *oldSystem) error {
		if args, err = m.restore(ctx, old, image); err != nil {
			return err
		}
		return m.copyData(ctx, old)
	})
	if err != nil {
		return err
	}
	return m.giveTrial(image, args)
}

// giveTrial makes slot a complete for GRUB, and the next to boot.
func (m *Migrator) giveTrial(image bundle.Image, preserved string) error {
	// A cut after this write leaves the migrator in charge, as before: it goes
	// by the boot state.
	err := m.save(func(j *Journal) { j.Phase, j.Reason, j.Log = PhaseTrial, "", m.Log.String() })
	if err != nil {
		return err
	}
	args := bootctl.Args{Device: joinArgs(m.journal.DeviceArgs, preserved), Image: image.KernelArgs}
	// A cut after this write leaves a complete slot a and the migrator in
	// charge, which does all of it again.
	if err := m.Store.SetArgs(bootctl.SystemA, args); err != nil {
		return err
	}
	// COMMIT POINT: one sector. From here on the next boot is the trial of the
	// new system, and behind it the old one.
	if err := m.Store.SetState(bootctl.TrialOfMigrated(m.state, trialTries)); err != nil {
		return err
	}
	m.Log.Printf("the new system is complete: its trial is the next boot")
	return nil
}

// trialTries: one for the trial, and one for a power cut in it.
const trialTries = 2

// giveUp gives the old system its turn, or where that is no more the migrator
// another one. The reason is written first, as far as that is possible:
// nothing may keep us from going back.
func (m *Migrator) giveUp(cause error) (Outcome, error) {
	err := m.save(func(j *Journal) {
		j.Reason, j.Log = cause.Error(), m.Log.String()
		if m.oldBoots {
			j.Phase = PhaseFailed
		} else {
			j.Failures++
		}
	})
	if err != nil {
		m.Log.Printf("the journal cannot be written: %v", err)
	}
	switch {
	case !m.oldBoots && m.journal.Failures >= maxFailures:
		return Stuck, cause
	case !m.oldBoots:
		return Again, cause
	}
	// COMMIT POINT: one sector. A cut before it costs the migrator one try.
	if err := m.Store.SetState(bootctl.BackToOld(m.state)); err != nil {
		return Again, errors.Join(cause, err)
	}
	return ToOld, cause
}

// save changes the journal on the disk.
func (m *Migrator) save(change func(*Journal)) error {
	change(m.journal)
	return m.journal.Record(m.Store)
}

// joinArgs adds to kernel arguments those that they do not have yet.
func joinArgs(have, more string) string {
	words := strings.Fields(have)
	for _, word := range strings.Fields(more) {
		if !containsWord(words, word) {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

func containsWord(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
