package update

import "errors"

// Why a command did not do what it was asked to: each has an exit code of its
// own (docs/exit-codes.md).
var (
	ErrNothing      = errors.New("nothing to do")
	ErrDowngrade    = errors.New("older than allowed")
	ErrNoFit        = errors.New("does not fit")
	ErrLocked       = errors.New("another abupdate is at work")
	ErrNotCommitted = errors.New("the running system is not committed yet")
	ErrWrite        = errors.New("writing the slot failed")
	ErrHealth       = errors.New("the system is not healthy")
	ErrMigration    = errors.New("the migration is not finished")
	ErrUsage        = errors.New("not possible this way")
)

// hinted is an error that knows what to do next.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

// withHint adds to err what the user should do next.
func withHint(err error, hint string) error { return hinted{err, hint} }
