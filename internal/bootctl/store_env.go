package bootctl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// CopyHealth is the condition of one copy of the boot state.
type CopyHealth string

// The conditions of a copy.
const (
	CopyOK    CopyHealth = "ok"
	CopyStale CopyHealth = "stale" // valid, but not what env0 says; GRUB does not look at it
	CopyBad   CopyHealth = "bad"
)

// ErrBothBroken is returned, wrapped with ErrBootState, when neither copy of
// the boot state can be read. Repair rebuilds it.
var ErrBothBroken = errors.New("both copies are broken")

// State returns the boot state as GRUB would read it now (env0 when it is
// valid, else env1), and the health of both copies.
func (st *Store) State() (State, [2]CopyHealth, error) {
	health := [2]CopyHealth{CopyBad, CopyBad}
	var states [2]State
	var errs [2]error
	for i := range st.layout.Env {
		if states[i], errs[i] = st.readEnv(i); errs[i] == nil {
			health[i] = CopyOK
		}
	}
	switch {
	case health[0] == CopyOK:
		if health[1] == CopyOK && states[1] != states[0] {
			health[1] = CopyStale
		}
		return states[0], health, nil
	case health[1] == CopyOK:
		return states[1], health, nil
	}
	return State{}, health, fmt.Errorf("%w: %w: env0: %w; env1: %w", ErrBootState, ErrBothBroken, errs[0], errs[1])
}

func (st *Store) readEnv(i int) (State, error) {
	b, err := readFull(st.dev, st.layout.Env[i].Off, EnvSize)
	if err != nil {
		return State{}, err
	}
	return ParseEnv(b)
}

// SetState makes next the boot state, with a new sequence number. On an error
// the disk holds the old state or the new one.
func (st *Store) SetState(next State) error {
	current, health, err := st.State()
	if err != nil {
		return err
	}
	// While env0 is in flight env1 is all that there is.
	if health[0] == CopyOK && health[1] != CopyOK {
		if err := st.resync(current, health); err != nil {
			return err
		}
	}
	next.Seq = current.Seq + 1
	return st.writeEnv(next)
}

// writeEnv writes both copies. They lie in different physical sectors, and
// the second is touched only when the first is durable and read back: no cut
// can break both.
func (st *Store) writeEnv(s State) error {
	if s.Seq == 0 { // the counter went round
		s.Seq = 1
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("internal error: new boot state: %w", err)
	}
	b := s.Encode()
	// COMMIT POINT: after the Sync of env0 GRUB goes by the new state; before
	// it, by the old. A sector is written whole or not at all. Should the disk
	// lose env0's physical sector instead, GRUB takes env1: the old state.
	if err := st.writeSynced(b, st.layout.Env[0].Off); err != nil {
		return fmt.Errorf("%w: writing env0: %w", ErrBootState, err)
	}
	// A cut from here on leaves env1 old or broken. GRUB does not look at it
	// while env0 is valid, and Repair makes it good again.
	if err := st.writeSynced(b, st.layout.Env[1].Off); err != nil {
		return fmt.Errorf("%w: writing env1: %w", ErrBootState, err)
	}
	return nil
}

// Repair brings back what is kept twice: a broken or stale copy of the boot
// state or of the state file's header. When both copies of the boot state are
// broken it makes a new one for the running system, which then has to be
// committed again. It returns what was repaired in words for the user; "" is
// nothing. The next update works again after it, so that one broken sector
// never locks a device out of updates.
func (st *Store) Repair(running System) (string, error) {
	var done []string
	state, health, err := st.State()
	switch {
	case errors.Is(err, ErrBothBroken):
		state = Rebuilt(running)
		if running == SystemA && st.migrating() {
			state = OldStillThere(state)
		}
		done = append(done, fmt.Sprintf("both copies were broken; rebuilt for system %v, which has to be committed again", running))
	case err != nil:
		return "", err
	case health[0] != CopyOK:
		done = append(done, "env0 was "+string(health[0]))
	case health[1] != CopyOK:
		done = append(done, "env1 was "+string(health[1]))
	}
	if len(done) > 0 {
		// The same state, so the same sequence number: this boot's proof that
		// GRUB read it stays good. A cut leaves at least the copy that was
		// good before, because writeEnv never has both in flight.
		if err := st.resync(state, health); err != nil {
			return "", err
		}
	}
	said, err := st.repairHeaders()
	return strings.Join(append(done, said...), "; "), err
}

// migrating reports whether a migration has not been finished: finish takes
// both args blocks away before it writes over anything of the old system.
func (st *Store) migrating() bool {
	_, old := st.Args(SystemOld)
	_, mig := st.Args(SystemMigrator)
	return old == nil || mig == nil
}

// resync writes the copies that are not ok.
func (st *Store) resync(s State, health [2]CopyHealth) error {
	if health[0] != CopyOK {
		return st.writeEnv(s)
	}
	if err := st.writeSynced(s.Encode(), st.layout.Env[1].Off); err != nil {
		return fmt.Errorf("%w: writing env1: %w", ErrBootState, err)
	}
	return nil
}

// repairHeaders writes a header copy again that is not what the one that was
// opened says.
func (st *Store) repairHeaders() (done []string, err error) {
	for n := range uint32(headerCopies) {
		want, off := st.encode(n), st.layout.State.Off+int64(n)*headerSize
		if got, err := readFull(st.dev, off, headerSize); err == nil && bytes.Equal(got, want) {
			continue
		}
		if err := st.writeSynced(want, off); err != nil {
			return done, fmt.Errorf("%w: writing header copy %d of the state file: %w", ErrBootState, n, err)
		}
		done = append(done, fmt.Sprintf("header copy %d of the state file was bad", n))
	}
	return done, nil
}
