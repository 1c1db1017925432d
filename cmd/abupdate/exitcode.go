package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/preserve"
	"github.com/abupdate/abupdate/internal/update"
)

// The documented exit codes (docs/exit-codes.md). Scripts rely on them.
const (
	codeDone         = 0
	codeFailed       = 1
	codeUsage        = 2
	codeNothing      = 3
	codeReboot       = 4
	codeFormat       = 10
	codeSignature    = 11
	codeIncompatible = 12
	codeDowngrade    = 13
	codeNoFit        = 14
	codeDownload     = 20
	codeLocked       = 21
	codeNotCommitted = 22
	codeWrite        = 30
	codeBootState    = 40
	codeHealth       = 50
	codePreserve     = 51
	codeMigration    = 60
)

// usageError is a wrong command line or configuration.
type usageError struct {
	err  error
	hint string
}

func usagef(format string, args ...any) error {
	return usageError{err: fmt.Errorf(format, args...)}
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }
func (e usageError) Hint() string  { return e.hint }

// exitStatus ends the program with a code after everything has been said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exitCode maps an error to its exit code: the one place that does.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &usage):
		return codeUsage
	}
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return codeFailed
}

// codes maps what went wrong to exit codes. The first match counts: an error
// may wrap another that is its cause.
var codes = []struct {
	err  error
	code int
}{
	{update.ErrUsage, codeUsage},
	{source.ErrOptions, codeUsage},
	{update.ErrNothing, codeNothing},
	{update.ErrLocked, codeLocked},
	{update.ErrNotCommitted, codeNotCommitted},
	{update.ErrDowngrade, codeDowngrade},
	{update.ErrNoFit, codeNoFit},
	{update.ErrMigration, codeMigration},
	{migrate.ErrRefused, codeMigration},
	{update.ErrHealth, codeHealth},
	{preserve.ErrPreserve, codePreserve},
	{update.ErrWrite, codeWrite},
	{source.ErrDownload, codeDownload},
	{bundle.ErrSignature, codeSignature},
	{bundle.ErrFormat, codeFormat},
	{bundle.ErrIncompatible, codeIncompatible},
	{bootctl.ErrBootState, codeBootState},
	{partition.ErrTable, codeBootState},
}

// hint says what to do next: the error's own words, else those for its code.
func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return h.Hint()
	}
	for _, row := range hints {
		if errors.Is(err, row.err) {
			return row.hint
		}
	}
	return ""
}

// hints are for errors that bring no words of their own. The first match
// counts.
var hints = []struct {
	err  error
	hint string
}{
	{os.ErrPermission, "run it as root, or give --disk IMAGE to work on a disk image"},
	{context.Canceled, "stopped on request; run the same command again to go on"},
	{os.ErrNotExist, "check the path"},
	{unix.EISDIR, "give a file; the directory of a channel ends in a slash"},
	{unix.ENOSPC, "make room and run the same command again"},
	{source.ErrDownload, "check the network and the server, then run the same command again: what has arrived is kept"},
	{bundle.ErrSignature, "the bundle is damaged or not from this device's vendor; fetch it again from the vendor. Nothing of it can boot"},
	{bundle.ErrFormat, "this is not a whole bundle; fetch it again"},
	{bundle.ErrIncompatible, "get the bundle made for this device; see: abupdate bundle info"},
	{preserve.ErrPreserve, "correct what it names, or install without the configuration: --no-preserve"},
	{update.ErrWrite, "the running system is untouched; run the same command again, and check the disk if this comes back"},
	{bootctl.ErrBootState, "see what is wrong: abupdate doctor"},
	{partition.ErrTable, "this disk was not set up by abupdate, or its partition table is damaged; see: abupdate doctor"},
}
