package bootctl_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/slot"
)

// The disks of these tests: abboot at 1 MiB with its files one after the
// other, the slots at 32 and 48 MiB.
const (
	diskSize = 64 << 20
	slotSize = 16 << 20
)

func testLayout(t testing.TB) bootctl.Layout {
	t.Helper()
	l := bootctl.Layout{ID: "4f1c2a90", BootPart: 1, APart: 2, BPart: 3, DataPart: 4}
	off := int64(1 << 20)
	for _, f := range bootctl.PreallocatedFiles() {
		if err := l.Place(f.Path, bootctl.Extent{Off: off, Len: f.Size}); err != nil {
			t.Fatal(err)
		}
		off += (f.Size + 4095) / 4096 * 4096
	}
	return l
}

// newDisk returns a formatted disk with boot state s and complete systems in
// slot a (version 1) and slot b (version 1).
func newDisk(t testing.TB, s bootctl.State, physical int) *blockdevtest.Disk {
	t.Helper()
	d := blockdevtest.New(diskSize, blockdev.SectorSize)
	d.SetPhysicalSector(physical)
	l := testLayout(t)
	if err := bootctl.Format(d, l, s); err != nil {
		t.Fatal(err)
	}
	st := open(t, d)
	for _, id := range slot.All {
		must(t, writeSlot(d, id, 1))
		must(t, st.SetArgs(bootctl.SystemOf(id), argsOf(id)))
	}
	return d.Clone()
}

func open(t testing.TB, d blockdev.Device) *bootctl.Store {
	t.Helper()
	st, err := bootctl.Open(d, testLayout(t).State.Off)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func argsOf(id slot.ID) bootctl.Args {
	return bootctl.Args{Device: "console=ttyS0 unit=" + id.String(), Image: "quiet"}
}

// A slot's content is three sectors far apart, all of one version. The first
// one stands for the first MiB: without it there is no file system.
var slotSectors = [...]int64{0, 4 << 20, 12 << 20}

func slotStart(id slot.ID) int64 { return int64(id-slot.A+2) * slotSize }

// writeSlot writes a version as the slot writer does: not bootable first,
// bootable last, and durable before each of these steps.
func writeSlot(d blockdev.Device, id slot.ID, version byte) error {
	write := func(i int, v byte) error {
		_, err := d.WriteAt(bytes.Repeat([]byte{v}, 512), slotStart(id)+slotSectors[i])
		return err
	}
	return errors.Join(write(0, 0), d.Sync(), write(1, version), write(2, version), d.Sync(), write(0, version), d.Sync())
}

// slotVersion returns the version in a slot, 0 when GRUB can load nothing
// from it, and whether it is all of one version.
func slotVersion(d blockdev.Device, id slot.ID) (version byte, whole bool) {
	whole = true
	for i, off := range slotSectors {
		var b [1]byte
		if _, err := d.ReadAt(b[:], slotStart(id)+off); err != nil && !errors.Is(err, io.EOF) {
			return 0, false
		}
		if i == 0 {
			version = b[0]
		}
		whole = whole && b[0] == version
	}
	return version, whole && version != 0
}

// machine is the computer around a disk: what lies in its slots decides what
// GRUB can load.
func machine(t testing.TB, d blockdev.Device) bootmodel.Machine {
	return bootmodel.Machine{Dev: d, Layout: testLayout(t), Files: func(s bootctl.System) bootmodel.Files {
		id, ok := s.Slot()
		if !ok {
			return bootmodel.Missing
		}
		if v, _ := slotVersion(d, id); v == 0 {
			return bootmodel.Missing
		}
		return bootmodel.Loadable
	}}
}

var good = bootctl.State{Seq: 5, Primary: slot.A, A: bootctl.Flags{OK: true}, B: bootctl.Flags{OK: true}, BKind: bootctl.KindSlot}
