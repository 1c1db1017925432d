package bundle

import (
	"fmt"
	"io"
)

// refusal is why a bundle is not used: one of the sentinels, what was being
// read and what is wrong there, and what to do next.
type refusal struct {
	kind  error
	cause error
	next  string
}

func (r *refusal) Error() string   { return r.kind.Error() + ": " + r.cause.Error() }
func (r *refusal) Unwrap() []error { return []error{r.kind, r.cause} }

// Hint says what to do next.
func (r *refusal) Hint() string { return r.next }

// advised gives an error another hint, for a reader other than a device.
type advised struct {
	error
	next string
}

func (a *advised) Unwrap() error { return a.error }
func (a *advised) Hint() string  { return a.next }

const (
	nextFetchAgain = "fetch the bundle again; if the same happens, it was built or stored wrongly"
	nextTampered   = "do not install it; fetch it again from the vendor, and if the same happens ask the vendor"
	nextKeyring    = "check that the vendor signed it with the keys that this device trusts (abupdate keyring show)"
	nextNewer      = "install a newer abupdate first, or a bundle made for this version"
)

// formatErrorf reports that the bytes read are not a well-formed bundle.
func formatErrorf(format string, args ...any) error {
	return &refusal{ErrFormat, fmt.Errorf(format, args...), nextFetchAgain}
}

// hashErrorf reports bytes that are not the ones that were signed.
func hashErrorf(format string, args ...any) error {
	return &refusal{ErrSignature, fmt.Errorf(format, args...), nextTampered}
}

// signatureErrorf reports that signatures do not reach what a keyring asks.
func signatureErrorf(format string, args ...any) error {
	return &refusal{ErrSignature, fmt.Errorf(format, args...), nextKeyring}
}

// incompatibleErrorf reports that this program is too old for the bundle.
func incompatibleErrorf(format string, args ...any) error {
	return &refusal{ErrIncompatible, fmt.Errorf(format, args...), nextNewer}
}

// readError classifies a failed read: the end of the input in the middle of
// what was being read means a bundle cut short; anything else (a download
// that failed) keeps its own kind. It compares and does not unwrap: a source
// may wrap io.ErrUnexpectedEOF for a connection that broke.
func readError(what string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return formatErrorf("reading %s: the bundle ends here: it was cut short", what)
	}
	return fmt.Errorf("reading %s: %w", what, err)
}

// clip bounds foreign text that goes into an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
