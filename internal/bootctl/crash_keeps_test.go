package bootctl_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/bootctl"
)

// longArgs reach over several sectors of an args block.
var longArgs = bootctl.Args{Device: strings.Repeat("device=1 ", 80), Image: strings.Repeat("image=2 ", 80)}

// argsAreOneOf returns a check of slot b's args block: it is one of these,
// where nil stands for not valid, and the last of them once acknowledged.
func argsAreOneOf(allowed ...any) func(*testing.T, *bootctl.Store, bool) error {
	return func(_ *testing.T, st *bootctl.Store, done bool) error {
		var got any
		a, err := st.Args(bootctl.SystemB)
		if err == nil {
			got = a
		} else if !errors.Is(err, bootctl.ErrInvalid) && !errors.Is(err, unix.EIO) { // unreadable: GRUB boots it as little
			return err
		}
		rest := allowed
		if done {
			rest = allowed[len(allowed)-1:]
		}
		for _, want := range rest {
			if got == want {
				return nil
			}
		}
		return fmt.Errorf("args block of b: %+v", got)
	}
}

// recordText is a record of more than one block.
func recordText(n byte) []byte { return bytes.Repeat([]byte{n}, 5000+int(n)) }

// setRecords writes records 1 to n, one after the other.
func setRecords(st *bootctl.Store, from, to byte) error {
	var errs []error
	for n := from; n <= to; n++ {
		errs = append(errs, st.SetRecord(bootctl.RecordHistory, recordText(n)))
	}
	return errors.Join(errs...)
}

// keepsRecord checks that the history is record 2 or, once acknowledged, 3.
func keepsRecord(_ *testing.T, st *bootctl.Store, done bool) error {
	got, err := st.Record(bootctl.RecordHistory)
	if err != nil {
		return err
	}
	if bytes.Equal(got, recordText(3)) || !done && bytes.Equal(got, recordText(2)) {
		return nil
	}
	return fmt.Errorf("the history is not what was written: %d bytes", len(got))
}
