//go:build qemu

package qemu

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/test/qemu/factory"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// device is a tiny appliance: a disk, the machine that it is in, and what the
// model thinks of it.
type device struct {
	t       *testing.T
	ctx     context.Context
	factory *factory.Factory // of its releases
	fw      vm.Firmware
	disk    string
	layout  bootctl.Layout
	parts   map[int]int64  // start of each partition, in bytes
	sizes   map[int]int64  // and its size
	uuids   map[int]string // PARTUUID of each partition
	machine *vm.Machine
	shadow  *shadow
	files   map[bootctl.System]bootmodel.Files
	beside  []vm.Disk        // disks that the hardware finds before the device's own
	server  *httptest.Server // of bundles
}

// newDevice copies a disk. The machine is off.
func newDevice(t *testing.T, fw vm.Firmware, base string) *device {
	t.Helper()
	f, err := vendor()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{
		t: t, factory: f, fw: fw, disk: filepath.Join(t.TempDir(), "device.img"), parts: make(map[int]int64), sizes: make(map[int]int64), uuids: make(map[int]string),
		files: map[bootctl.System]bootmodel.Files{bootctl.SystemA: bootmodel.Loadable, bootctl.SystemB: bootmodel.Loadable},
	}
	d.must(vm.CopyDisk(d.disk, base))
	d.offline(func(dev blockdev.Device, st *bootctl.Store) error {
		d.layout = st.Layout()
		table, err := partition.Read(dev)
		if err != nil {
			return err
		}
		for _, p := range table.Parts {
			d.parts[p.Number], d.sizes[p.Number], d.uuids[p.Number] = p.Start, p.Size, p.PartUUID
		}
		return nil
	})
	d.look()
	return d
}

func (d *device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// offline works on the disk from the host.
func (d *device) offline(work func(dev blockdev.Device, st *bootctl.Store) error) {
	d.t.Helper()
	dev, err := blockdev.Open(d.disk, blockdev.Options{Write: true})
	d.must(err)
	defer dev.Close()
	off := d.layout.State.Off
	if off == 0 {
		off, err = bootctl.Find(dev)
		d.must(err)
	}
	st, err := bootctl.Open(dev, off)
	d.must(err)
	d.must(work(dev, st))
}

// look gives the model the disk as it is now.
func (d *device) look() {
	d.t.Helper()
	s, err := newShadow(d.disk)
	d.must(err)
	if d.shadow != nil {
		s.blind, s.fixed = d.shadow.blind, d.shadow.fixed
	}
	d.shadow = s
}

// set writes a new boot state, both copies.
func (d *device) set(s bootctl.State) {
	d.t.Helper()
	if s.BKind == 0 {
		s.BKind = bootctl.KindSlot
	}
	d.offline(func(_ blockdev.Device, st *bootctl.Store) error { return st.SetState(s) })
	d.look()
}

// state returns the boot state that the disk holds.
func (d *device) state() bootctl.State {
	d.t.Helper()
	var s bootctl.State
	d.offline(func(_ blockdev.Device, st *bootctl.Store) (err error) {
		s, _, err = st.State()
		return err
	})
	return s
}

// expect fails the test unless the boot state is s, but for its number.
func (d *device) expect(s bootctl.State) {
	d.t.Helper()
	if s.BKind == 0 {
		s.BKind = bootctl.KindSlot
	}
	got := d.state()
	got.Seq = s.Seq
	if got != s {
		d.t.Errorf("the boot state is %+v, want %+v", got, s)
	}
}

// write changes bytes of the disk.
func (d *device) write(off int64, b []byte) {
	d.t.Helper()
	f, err := os.OpenFile(d.disk, os.O_WRONLY, 0)
	d.must(err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	d.must(err)
	d.look()
}

// powerOn starts the machine when it is the test's turn.
func (d *device) powerOn(disk vm.Disk, args ...string) {
	d.t.Helper()
	turn(d.t)
	d.start(disk, args...)
}

// start starts the machine.
func (d *device) start(disk vm.Disk, args ...string) {
	d.t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(d.t.Context(), testTime)
	d.t.Cleanup(func() {
		cancel()
		d.t.Logf("took %.0f s", time.Since(begin).Seconds())
	})
	d.ctx = ctx
	disk.Path = d.disk
	m, err := vm.Start(ctx, vm.Config{Firmware: d.fw, Disks: append(slices.Clip(d.beside), disk), LogDir: logDir(d.t), Args: args})
	d.must(err)
	d.t.Cleanup(func() { _ = m.Close() })
	// A prompt waits for a key that nobody presses.
	m.Console.Never(`grub> |grub rescue>|Press any key|Enter username`)
	d.machine = m
}

// directBoot makes QEMU load a slot's kernel by itself: a boot loader that is
// not ours, with some words on the command line.
func (d *device) directBoot(sys bootctl.System, words string) []string {
	d.t.Helper()
	dir := d.t.TempDir()
	kernel, initrd := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initramfs")
	d.must(os.WriteFile(kernel, d.read(sys, vmlinuz), 0o600))
	d.must(os.WriteFile(initrd, d.read(sys, initramfs), 0o600))
	if strings.Contains(words, "%d") {
		words = fmt.Sprintf(words, d.layout.State.Off/blockdev.SectorSize)
	}
	cmdline := fmt.Sprintf("root=PARTUUID=%s panic=10 %s %s", d.uuids[d.slotPart(sys)], words, tiny.KernelArgs)
	return []string{"-kernel", kernel, "-initrd", initrd, "-append", cmdline}
}

// model is what the model has to go by.
func (d *device) model() bootmodel.Machine {
	return bootmodel.Machine{
		Dev: d.shadow, Layout: d.layout,
		Files: func(s bootctl.System) bootmodel.Files { return d.files[s] },
	}
}

// boots waits until a system has started, and checks that it is the expected
// one, that the model expects it too, and that both leave the same boot state
// on the disk.
func (d *device) boots(sys bootctl.System, why bootctl.Why) tiny.Boot {
	d.t.Helper()
	predicted := d.model().BootFully()
	if predicted.System != sys || predicted.Why != why {
		d.t.Errorf("the model says %v, the test %v (%v)", predicted, sys, why)
	}
	b := d.bootLine()
	want := tiny.Boot{
		Version: b.Version, Slot: sys.String(), Why: why.String(), Seq: predicted.Seq,
		Root: fmt.Sprintf("/dev/vd%c%d", 'a'+len(d.beside), d.slotPart(sys)),
	}
	if b != want {
		d.t.Fatalf("GRUB started\n%+v, want\n%+v", b, want)
	}
	d.checkEnv()
	return b
}

// bootLine waits for the line that each start prints.
func (d *device) bootLine() tiny.Boot {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, bootTime)
	defer cancel()
	groups, err := d.machine.Console.Expect(ctx, tiny.BootPattern)
	d.must(err)
	b, err := tiny.ParseBoot(groups)
	d.must(err)
	return b
}

// says waits until the console shows a pattern.
func (d *device) says(pattern string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, bootTime)
	defer cancel()
	_, err := d.machine.Console.Expect(ctx, pattern)
	d.must(err)
}

// checkEnv compares the copies of the boot state with the model's, bit by bit.
func (d *device) checkEnv() {
	d.t.Helper()
	f, err := os.Open(d.disk)
	d.must(err)
	defer f.Close()
	for i, e := range d.layout.Env {
		if within(d.shadow.blind, e.Off) {
			continue
		}
		got, want := make([]byte, bootctl.EnvSize), make([]byte, bootctl.EnvSize)
		_, err := f.ReadAt(got, e.Off)
		d.must(err)
		_, err = d.shadow.ReadAt(want, e.Off)
		d.must(err)
		if !bytes.Equal(got, want) {
			d.t.Errorf("GRUB left env%d as\n%q\nthe model as\n%q", i, got, want)
		}
	}
}

// reset pushes the reset button.
func (d *device) reset() {
	d.t.Helper()
	d.must(d.machine.Reset(d.ctx))
}
