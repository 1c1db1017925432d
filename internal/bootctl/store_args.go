package bootctl

import (
	"bytes"
	"fmt"
)

// Args returns the kernel arguments of a system, or ErrInvalid when its args
// block is not valid: the system is not complete.
func (st *Store) Args(s System) (Args, error) {
	e, err := st.layout.args(s)
	if err != nil {
		return Args{}, err
	}
	b, err := readFull(st.dev, e.Off, ArgsSize)
	if err != nil {
		return Args{}, fmt.Errorf("%w: args block of %v: %w", ErrBootState, s, err)
	}
	a, err := ParseArgs(b, s)
	if err != nil {
		return Args{}, fmt.Errorf("%w: args block of %v: %w", ErrBootState, s, err)
	}
	return a, nil
}

// InvalidateArgs takes a system's completeness mark away: once it returns nil
// GRUB does not boot the system, whatever else happens to the boot state.
func (st *Store) InvalidateArgs(s System) error {
	e, err := st.layout.args(s)
	if err != nil {
		return err
	}
	sector := invalidSector()
	if got, err := readFull(st.dev, e.Off, EnvSize); err == nil && bytes.Equal(got, sector) {
		return st.sync(s) // it may be there from a run whose Sync failed
	}
	// COMMIT POINT: one sector. Before this Sync the system boots as before,
	// after it not at all. The sectors behind it stay: without the first
	// sector's ab_fmt GRUB makes nothing of them.
	if err := st.writeSynced(sector, e.Off); err != nil {
		return fmt.Errorf("%w: invalidating the args block of %v: %w", ErrBootState, s, err)
	}
	return nil
}

// SetArgs writes a system's args block and so marks the system complete. The
// block is invalid while it is being changed.
func (st *Store) SetArgs(s System, a Args) error {
	e, err := st.layout.args(s)
	if err != nil {
		return err
	}
	if err := a.Validate(s); err != nil {
		return fmt.Errorf("args block of %v: %w", s, err)
	}
	if old, err := st.Args(s); err == nil && old == a {
		return st.sync(s) // a valid block is not taken away for nothing
	}
	// Invalid first: with the old first sector still in place, a cut in the
	// middle of the next write could mix old and new arguments.
	if err := st.InvalidateArgs(s); err != nil {
		return err
	}
	b := a.encode()
	// A cut before this Sync leaves an invalid block with any content behind
	// its first sector.
	if err := st.writeSynced(b[EnvSize:], e.Off+EnvSize); err != nil {
		return fmt.Errorf("%w: writing the args block of %v: %w", ErrBootState, s, err)
	}
	// COMMIT POINT: one sector. After this Sync the system counts as complete.
	if err := st.writeSynced(b[:EnvSize], e.Off); err != nil {
		return fmt.Errorf("%w: validating the args block of %v: %w", ErrBootState, s, err)
	}
	return nil
}

// sync makes durable what is read back already.
func (st *Store) sync(s System) error {
	if err := st.dev.Sync(); err != nil {
		return fmt.Errorf("%w: args block of %v: %w", ErrBootState, s, err)
	}
	return nil
}
