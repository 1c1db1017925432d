package bootctl_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
)

// These tests hold the order of single writes: each fails when one Sync or
// one write of package bootctl is left out.

// TestCrashWithABrokenCopy changes the boot state of a disk whose env1 is
// broken or stale: a torn env0 must not leave nothing, or a state of the past.
func TestCrashWithABrokenCopy(t *testing.T) {
	past := bootctl.Arm(good, slot.B, 9)
	past.Seq = 1
	for name, env1 := range map[string][]byte{"broken": make([]byte, bootctl.EnvSize), "stale": past.Encode()} {
		t.Run(name, func(t *testing.T) {
			base := newDisk(t, good, 4096)
			if _, err := base.WriteAt(env1, testLayout(t).Env[1].Off); err != nil {
				t.Fatal(err)
			}
			next := bootctl.MarkBad(good, slot.B)
			set := func(d *blockdevtest.Disk) error { return open(t, d).SetState(next) }
			blockdevtest.Campaign{
				Base: base.Clone(), Run: set, Recover: set,
				Check: func(c blockdevtest.Crash) error {
					s, _, err := open(t, c.Disk).State()
					if err != nil {
						return err
					}
					s.Seq = 0
					for _, allowed := range []bootctl.State{good, next} {
						if allowed.Seq = 0; s == allowed {
							return nil
						}
					}
					return fmt.Errorf("boot state %+v", s)
				},
			}.Test(t)
		})
	}
}

// TestCrashNeverMixesArgs replaces long arguments by other long ones: GRUB,
// which is not as strict as ParseArgs, boots with the ones or the others.
func TestCrashNeverMixesArgs(t *testing.T) {
	before := bootctl.Args{Device: strings.Repeat("old=1 ", 120), Image: strings.Repeat("past=2 ", 100)}
	after := bootctl.Args{Device: strings.Repeat("new=1234 ", 90), Image: strings.Repeat("now=5 ", 80)}
	primary := good
	primary.Primary = slot.B
	for _, physical := range []int{512, 4096} {
		t.Run(fmt.Sprintf("sectors of %d", physical), func(t *testing.T) {
			base := newDisk(t, primary, physical)
			must(t, open(t, base).SetArgs(bootctl.SystemB, before))
			set := func(d *blockdevtest.Disk) error { return open(t, d).SetArgs(bootctl.SystemB, after) }
			blockdevtest.Campaign{
				Base: base.Clone(), Run: set, Recover: set,
				Check: func(c blockdevtest.Crash) error {
					o := machine(t, c.Disk).Boot()
					switch {
					case o.System == bootctl.SystemA:
						return nil
					case o.System == bootctl.SystemB && (o.Args == before || o.Args == after):
						return nil
					}
					return fmt.Errorf("%v with the arguments %+v", o, o.Args)
				},
			}.Test(t)
		})
	}
}

// TestCrashAfterAFailedSync: a Sync fails and the same call comes again. What
// it finds on the disk already may not be durable.
func TestCrashAfterAFailedSync(t *testing.T) {
	for name, c := range map[string]struct {
		call  func(*bootctl.Store) error
		valid bool
	}{
		"invalidate": {func(st *bootctl.Store) error { return st.InvalidateArgs(bootctl.SystemB) }, false},
		"set":        {func(st *bootctl.Store) error { return st.SetArgs(bootctl.SystemB, longArgs) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			base := newDisk(t, good, 512)
			for failing := 1; ; failing += 2 { // each second operation is a Sync
				struck := false
				_, err := blockdevtest.EachCrash(base, func(d *blockdevtest.Disk) error {
					d.Fail(failing, unix.EIO, false)
					struck = c.call(open(t, d)) != nil
					return c.call(open(t, d))
				}, func(cut blockdevtest.Crash) {
					_, err := open(t, cut.Disk).Args(bootctl.SystemB)
					if cut.Done && (err == nil) != c.valid {
						t.Errorf("operation %d failed, the call came again: %v: %v", failing, cut, errors.Join(err))
					}
				})
				must(t, err)
				if !struck {
					break
				}
			}
		})
	}
}
