package migrate

import (
	"errors"
	"fmt"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
)

// ErrNoJournal is wrapped by the error for a device that was never migrated.
var ErrNoJournal = errors.New("this device was not migrated")

// RecordedJournal reads the journal of the state file, which counts from the
// switch on.
func RecordedJournal(store *bootctl.Store) (*Journal, error) {
	b, err := store.Record(bootctl.RecordJournal)
	if err != nil {
		return nil, fmt.Errorf("reading the migration's journal: %w", err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrJournal, ErrNoJournal)
	}
	return ParseJournal(b)
}

// Record makes the journal durable in the state file.
func (j *Journal) Record(store *bootctl.Store) error {
	b, err := j.Encode()
	if err != nil {
		return err
	}
	if err := store.SetRecord(bootctl.RecordJournal, b); err != nil {
		return fmt.Errorf("writing the migration's journal: %w", err)
	}
	return nil
}

// Committed brings the journal up to the boot state once the new system is
// good: a cut between the two may have kept it back. It reports whether it had
// to. now dates the end of KeepOld.
func (j *Journal) Committed(state bootctl.State, now time.Time) bool {
	if state.BKind != bootctl.KindOld || !state.A.OK || j.Phase == PhaseCommitted || j.Phase == PhaseFinishing {
		return false
	}
	j.Phase, j.Reason = PhaseCommitted, ""
	if j.KeepOld >= 0 {
		j.FinishAt = now.AddDate(0, 0, j.KeepOld).Unix()
	}
	return true
}

// Failed notes why the new system is given up. Where the old one is no more
// (gather), the migrator streams it once again.
func (j *Journal) Failed(store *bootctl.Store, reason string) {
	j.Phase, j.Reason = PhaseFailed, reason
	if _, err := store.Args(bootctl.SystemOld); err != nil {
		j.Phase = PhaseStreaming
	}
}

// Due reports whether finish goes by itself now.
func (j *Journal) Due(now time.Time) bool {
	switch j.Phase {
	case PhaseFinishing:
		return true // it was cut off
	case PhaseCommitted:
		return j.FinishAt > 0 && now.Unix() >= j.FinishAt
	case PhasePreparing, PhasePrepared, PhaseStarted, PhaseStreaming, PhaseTrial, PhaseFailed, PhaseDone:
	}
	return false
}
