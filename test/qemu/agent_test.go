//go:build qemu

package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/test/qemu/factory"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// What follows runs abupdate inside the appliance, as a device does.

// freshDevice is a disk from the factory: one release in slot a.
func freshDevice(t *testing.T, fw vm.Firmware, version string, v tiny.Variant) *device {
	t.Helper()
	f, err := vendor()
	if err != nil {
		t.Fatal(err)
	}
	return freshDeviceOf(t, f, fw, version, v)
}

// freshDeviceOf is the same from a factory of the test's own.
func freshDeviceOf(t *testing.T, f *factory.Factory, fw vm.Firmware, version string, v tiny.Variant) *device {
	t.Helper()
	disk, err := f.Disk(t.Context(), fw, version, v)
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, fw, disk)
	d.factory = f
	return d
}

// release makes a bundle and returns the address that a guest finds it at.
func (d *device) release(version string, v tiny.Variant) string {
	d.t.Helper()
	path, err := d.factory.Bundle(d.t.Context(), version, v)
	d.must(err)
	if d.server == nil {
		d.server = httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
		d.t.Cleanup(d.server.Close)
	}
	_, port, err := net.SplitHostPort(d.server.Listener.Addr().String())
	d.must(err)
	return fmt.Sprintf("http://%s:%s/%s", vm.HostAddress, port, filepath.Base(path))
}

// up waits until the system that has just started can be talked to.
func (d *device) up() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, bootTime)
	defer cancel()
	d.must(d.machine.Control.Ready(ctx))
}

// settled waits until the health check of a boot that is no trial has ended.
func (d *device) settled() {
	d.t.Helper()
	d.up()
	d.says("nothing to decide")
}

// abupdate runs the agent in the guest and checks its exit code.
func (d *device) abupdate(code int, args string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, 2*time.Minute)
	defer cancel()
	out, got, err := d.machine.Control.Run(ctx, "abupdate "+args)
	d.must(err)
	if got != code {
		d.t.Fatalf("abupdate %s: exit code %d, want %d:\n%s", args, got, code, out)
	}
	return out
}

// leave runs a verb that reboots. Its answer goes down with the machine.
func (d *device) leave(args string) {
	d.t.Helper()
	_, _, err := d.machine.Control.Run(d.ctx, "(abupdate "+args+" >/dev/console 2>&1 &)")
	d.must(err)
}

// status is what status --json says, as far as the tests look.
type status struct {
	Booted, Next, Phase string
	Committed           bool
	Slots               map[string]struct{ Version, State string }
	Bootloader          struct {
		Firmware string
		Env      [2]string
		Ours     bool
	}
}

func (d *device) status() (s status) {
	d.t.Helper()
	out := d.abupdate(0, "status --json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		d.t.Fatalf("status --json: %v:\n%s", err, out)
	}
	if s.Bootloader.Firmware != d.fw.String() {
		d.t.Errorf("status says firmware %s on %v", s.Bootloader.Firmware, d.fw)
	}
	return s
}

// committed waits until the health check has committed the running system, in
// both copies of the boot state.
func (d *device) committed() status {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		s := d.status()
		if s.Committed && !slices.Contains(s.Bootloader.Env[:], "stale") {
			return s
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("not committed within a minute: %+v", s)
		}
	}
}
