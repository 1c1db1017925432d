package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchdog is a running hardware (or software) watchdog: without Feed it
// resets the machine after its timeout.
type watchdog struct {
	f       *os.File
	timeout time.Duration
}

// openWatchdog starts the watchdog at path. It returns nil when there is none
// or somebody else feeds it already (systemd does with RuntimeWatchdogSec=).
func openWatchdog(path string, timeout time.Duration) (*watchdog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENODEV) {
		return nil, nil //nolint:nilnil // no watchdog is a normal machine; every method takes a nil one
	}
	if err != nil {
		return nil, fmt.Errorf("opening the watchdog: %w", err)
	}
	w := &watchdog{f, timeout}
	// A device that cannot do this timeout keeps its own: still better than none.
	_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(timeout.Seconds()))
	return w, nil
}

// Feed feeds the watchdog until ctx ends.
func (w *watchdog) Feed(ctx context.Context) {
	if w == nil {
		return
	}
	tick := time.NewTicker(max(w.timeout/4, time.Second))
	defer tick.Stop()
	for {
		_, _ = w.f.Write([]byte{0})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Leave gives the device up and leaves the watchdog running, over the reboot:
// a system that hangs before it feeds it is reset.
func (w *watchdog) Leave() {
	if w == nil {
		return
	}
	_, _ = w.f.Write([]byte{0})
	w.f.Close()
}

// Stop stops the watchdog, by the magic close of the kernel's watchdog API
// (Documentation/watchdog/watchdog-api.rst).
func (w *watchdog) Stop() {
	if w == nil {
		return
	}
	_, _ = w.f.Write([]byte("V"))
	w.f.Close()
}
