package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	return codeFailed
}

// hint says what to do next: the error's own words, else those for its code.
func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return h.Hint()
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return "run it as root, or give --disk IMAGE to work on a disk image"
	case errors.Is(err, context.Canceled):
		return "stopped on request; run the same command again to go on"
	}
	return ""
}
