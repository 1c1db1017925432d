// Package preserve carries a device's configuration into another system: the
// idle slot of an update or rollback, or the first slot of a migration.
//
// Invariants. Nothing is written before everything has been computed and
// checked. Replaying a plan after any interruption gives the same files. No
// program runs, neither the old system's nor the new one's, and no file's
// content is evaluated. Nothing outside the two trees is read or written: no
// symbolic link is ever followed by accident, only where a handler asks for
// it (Resolve), and never out of the tree.
//
// Start with NewPlan, then Plan.Apply. docs/preserve.md is the reference of
// the policy files and of what each handler does.
package preserve

import (
	"errors"
	"fmt"
)

// ErrPreserve is every failure of this package: the configuration was not, or
// could not be, carried over.
var ErrPreserve = errors.New("configuration not carried over")

// Refusal is a configuration that cannot be carried over faithfully. It is an
// ErrPreserve.
type Refusal struct {
	Handler string // which handler refuses, "" for a policy rule
	Subject string // what: a path beginning with /, an account, an interface
	Reason  string // why
	Next    string // what to do about it
}

func (r *Refusal) Error() string {
	if r.Handler == "" {
		return fmt.Sprintf("preserving %s: %s", r.Subject, r.Reason)
	}
	return fmt.Sprintf("preserving %s (%s): %s", r.Subject, r.Handler, r.Reason)
}

// Unwrap makes errors.Is(err, ErrPreserve) true.
func (r *Refusal) Unwrap() error { return ErrPreserve }

// Hint says what to do next.
func (r *Refusal) Hint() string { return r.Next }

// failed marks an error as one of this package.
func failed(doing string, err error) error {
	if errors.Is(err, ErrPreserve) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, ErrPreserve, err)
}
