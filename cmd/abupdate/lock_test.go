package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// heldLock is a disk whose lock another process has, for that long.
func heldLock(t *testing.T, hold time.Duration) string {
	t.Helper()
	disk := getFactory(t).device(t)
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(hold, func() { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) })
	return disk
}

// The health check of each boot holds the lock for a moment: a command in that
// moment waits, and after a second says why.
func TestCommandsWaitForTheLock(t *testing.T) {
	t.Parallel()
	f := getFactory(t)
	for _, c := range []struct {
		hold time.Duration
		says bool
	}{{300 * time.Millisecond, false}, {1800 * time.Millisecond, true}} {
		o := abupdate("--disk", heldLock(t, c.hold), "apply", f.v2)
		if o.code != codeDone {
			t.Errorf("held for %v: exit code %d\n%s", c.hold, o.code, o.stderr)
		}
		if said := strings.Contains(o.stderr, "Another abupdate is at work"); said != c.says {
			t.Errorf("held for %v: it says\n%s", c.hold, o.stderr)
		}
	}
}

// A command that changes something gives up in the end. A reader needs no lock.
func TestCommandsGiveUpTheWaitForTheLock(t *testing.T) {
	t.Parallel()
	disk := heldLock(t, time.Minute)
	begin := time.Now()
	mustRun(t, "--disk", disk, "status")
	if took := time.Since(begin); took > lockPatience/2 {
		t.Errorf("status waited %v for a lock that it does not need", took)
	}
	for _, verb := range []string{"commit", "rollback"} {
		begin = time.Now()
		o := abupdate("--disk", disk, verb)
		if took := time.Since(begin); o.code != codeLocked || took < lockPatience {
			t.Errorf("%s: exit code %d after %v, want %d after %v\n%s", verb, o.code, took, codeLocked, lockPatience, o.stderr)
		}
	}
}
