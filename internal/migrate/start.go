package migrate

import (
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// StartOptions are the choices of Start.
type StartOptions struct {
	// KeepOld is after how many days of the new system finish goes by itself;
	// -1: when the user says so.
	KeepOld int
	// AcceptNoReturn: gather may give the old system up before the new one has
	// been tried.
	AcceptNoReturn bool
	// Parity notes in the state file what the new system will be held against.
	Parity   func(*bootctl.Store) error
	Progress func(label string, done, total int64)
}

// migratorTries is how often GRUB starts the migrator before it goes back to
// the old system.
const migratorTries = 3

// Start puts our GRUB in charge of the boot: the next one is the migrator's.
// The caller reboots. Everything that prepare has placed is looked at once
// more, by disk address, before the first write.
func Start(o StartOptions) (*Journal, error) {
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	unlock, err := h.lock()
	if err != nil {
		return nil, err
	}
	defer unlock.Close()
	return h.start(o)
}

// starting is one run of start.
type starting struct {
	*host
	o      StartOptions
	survey *Survey
	disk   device
	store  *bootctl.Store
	j      *Journal
}

func (h *host) start(o StartOptions) (_ *Journal, err error) {
	boot, err := h.inCharge()
	if err != nil {
		return nil, err
	}
	st := &starting{host: h, o: o}
	if boot != nil {
		c, err := h.openCharge(boot, true)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if err := c.check(); err != nil {
			return nil, err
		}
		st.disk, st.store, st.j = c.disk, c.store, c.j
	} else if st.j, err = h.readJournalFile(); err != nil {
		return nil, withHint(err, "abupdate migrate abort, then prepare anew")
	}
	if err := st.refuse(boot != nil); err != nil {
		return nil, err
	}
	if st.survey, _, err = h.surveyMachine(); err != nil {
		return nil, err
	}
	if err := st.survey.checkUnchanged(st.j); err != nil {
		return nil, notAsPrepared(err)
	}
	if boot != nil {
		if err := st.verify(); err != nil {
			return nil, err
		}
		return st.j, st.handOver()
	}
	if st.disk, err = h.openWrite(st.survey.Disk.Name); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.disk.Close()) }()
	if err := st.verify(); err != nil {
		return nil, err
	}
	if st.store, err = bootctl.Open(st.disk, st.j.StateOff); err != nil {
		return nil, err
	}
	return st.j, st.takeCharge()
}

// notAsPrepared is the refusal of a start on another ground than prepare's.
func notAsPrepared(err error) error {
	return withHint(fmt.Errorf("%w: %w", ErrRefused, err), "prepare again: abupdate migrate prepare SOURCE; if that says the same: abupdate migrate abort first")
}

// refuse looks at the journal. ours: our GRUB is in charge already.
func (st *starting) refuse(ours bool) error {
	j := st.j
	if j == nil {
		return withHint(fmt.Errorf("%w: nothing is prepared", ErrRefused), "abupdate migrate prepare SOURCE, or: abupdate migrate start SOURCE")
	}
	switch j.Phase {
	case PhasePrepared:
	case PhasePreparing:
		return withHint(fmt.Errorf("%w: prepare was interrupted", ErrRefused), "run it again: abupdate migrate prepare SOURCE")
	case PhaseFailed, PhaseStarted, PhaseTrial:
		if !ours {
			return fmt.Errorf("%w: internal error: phase %q in the journal of the old loader", ErrRefused, j.Phase)
		}
	case PhaseStreaming, PhaseCommitted, PhaseFinishing, PhaseDone:
		return withHint(fmt.Errorf("%w: the migration is in the phase %q", ErrRefused, j.Phase), "see: abupdate migrate status")
	}
	if j.Tier == Gather && !st.o.AcceptNoReturn {
		return withHint(fmt.Errorf("%w: gather gives up the old system before the new one has been tried", ErrRefused),
			"if that is accepted: --accept-no-return")
	}
	return nil
}

// verify reads everything that the next boots rely on, past all caches.
func (st *starting) verify() error {
	changed, err := st.changedBootFile(st.j)
	if err != nil {
		return err
	}
	if changed != "" {
		return notAsPrepared(fmt.Errorf("%s has been changed or removed since prepare: the old system could not be gone back to", changed))
	}
	if err := st.checkPlaces(st.survey, st.disk, st.j); err != nil {
		return notAsPrepared(err)
	}
	if err := st.j.checkBootFiles(st.disk); err != nil {
		return notAsPrepared(err)
	}
	if st.j.EFILoader != "" {
		if err := st.checkLoader(st.survey, st.j.EFILoader); err != nil {
			return notAsPrepared(err)
		}
	}
	if st.j.Tier == Gather {
		return nil // the migrator reads the bundle once more before it acts on it
	}
	sum, err := hashImage(st.disk, st.j, st.o.Progress)
	if err != nil {
		return fmt.Errorf("%w: reading slot a: %w", update.ErrWrite, err)
	}
	if sum != st.j.ImageSHA256 {
		return withHint(fmt.Errorf("%w: slot a does not hold the image any more, which it does not after an attempt that came as far as to restore the configuration", ErrRefused),
			"write it again: abupdate migrate start SOURCE")
	}
	return nil
}

// hashImage returns the SHA-256 of the image in slot a's region.
func hashImage(disk blockdev.Device, j *Journal, progress func(string, int64, int64)) (string, error) {
	h := newRegionHash()
	const step = 16 * mib
	for at := int64(0); at < j.ImageSize; at += step {
		progress("verifying slot a", at, j.ImageSize)
		if err := h.add(disk, Region{j.A.Start + at, min(step, j.ImageSize-at)}); err != nil {
			return "", err
		}
	}
	progress("verifying slot a", j.ImageSize, j.ImageSize)
	return h.sum(), nil
}

// takeCharge makes the switch. Nobody reads what comes before it.
func (st *starting) takeCharge() error {
	sw, err := partition.PlanSwitch(st.disk, st.j.Trial, st.bootCode())
	if err != nil {
		return notAsPrepared(err)
	}
	// What counts is what the first start found: an interrupted one has
	// changed some of it.
	if len(st.j.Undo) == 0 {
		for _, w := range sw.Undo {
			st.j.Undo = append(st.j.Undo, SavedSectors(w))
		}
	}
	st.j.KeepOld = st.o.KeepOld
	// Durable before the first sector of the switch: should that be cut, the
	// old system finds here what to write back.
	if err := st.writeJournalFile(st.j); err != nil {
		return err
	}
	if err := st.handOver(); err != nil {
		return err
	}
	if err := sw.Apply(st.disk); err != nil {
		return fmt.Errorf("%w: the switch: %w", update.ErrWrite, err)
	}
	if st.j.Firmware != "uefi" {
		return nil
	}
	if st.j.Tier == Gather {
		if err := st.secureLoaders(); err != nil {
			return err
		}
	}
	return st.bootFirst()
}

func (st *starting) bootCode() []byte {
	if st.j.Firmware == "uefi" {
		return nil
	}
	return st.j.BootCode
}

// handOver writes abboot's side: what GRUB finds there when it takes charge,
// or, if it is in charge already, at the next boot.
func (st *starting) handOver() error {
	cmdline := st.survey.Machine.Cmdline
	for _, step := range []func() error{
		func() error { return st.store.InvalidateArgs(bootctl.SystemA) },
		func() error { return st.store.SetArgs(bootctl.SystemOld, bootctl.Args{Device: oldArgs(cmdline)}) },
		func() error {
			return st.store.SetArgs(bootctl.SystemMigrator, bootctl.Args{Device: migratorArgs(cmdline)})
		},
		func() error { return st.o.Parity(st.store) },
		st.saveStarted,
		// COMMIT POINT where our GRUB is in charge; else the switch is.
		st.migratorNext,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// saveStarted writes the journal that counts from the switch on. The file's
// phase stays: should the switch be cut, it counts.
func (st *starting) saveStarted() error {
	started := *st.j
	started.Phase, started.Restoring, started.Attempts, started.Reason, started.Log = PhaseStarted, false, 0, "", ""
	started.Carried = false // what an earlier attempt has copied is of the past
	started.KeepOld = st.o.KeepOld
	return started.Record(st.store)
}

func (st *starting) migratorNext() error {
	state, _, err := st.store.State()
	if err != nil {
		return err
	}
	return st.store.SetState(bootctl.StartMigration(state, migratorTries))
}
