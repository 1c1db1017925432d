package update

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

const mib = 1 << 20

// The disk of these tests: an MBR, abboot with nothing but its preallocated
// files, two slots, data.
const (
	diskSize  = 64 * mib
	bootStart = 1 * mib
	bootSize  = 16 * mib
	slotSize  = 4 * mib
	slotAAt   = bootStart + bootSize
	slotBAt   = slotAAt + slotSize
	dataAt    = slotBAt + slotSize
)

// vendor is who signs the bundles of a test.
type vendor struct {
	dir  string
	key  *bundle.PrivateKey
	ring *bundle.Keyring
}

func newVendor(tb testing.TB) *vendor {
	tb.Helper()
	key, err := bundle.GenerateKey(bundle.Ed25519)
	must(tb, err)
	ring, err := bundle.NewKeyring(1)
	must(tb, err)
	must(tb, ring.Add(key.Public()))
	return &vendor{tb.TempDir(), key, ring}
}

// content is the image of a version: n random bytes and a run of zeros.
func content(version string, n int) []byte {
	b := make([]byte, n)
	seed := sha256.Sum256([]byte(version))
	rand.NewChaCha8(seed).Read(b)
	clear(b[n/2 : n/2+n/8/512*512])
	return b
}

// bundleFile makes a bundle of image and returns its path.
func (v *vendor) bundleFile(tb testing.TB, image []byte, edit func(*bundle.CreateOptions)) string {
	tb.Helper()
	raw := filepath.Join(v.dir, "image")
	must(tb, os.WriteFile(raw, image, 0o600))
	o := bundle.CreateOptions{
		Product: "gw", Version: "2.0.0", Compatible: []string{"gw-x86"},
		Images: []bundle.ImageSource{{Name: rootImage, Path: raw, KernelArgs: "quiet"}},
		Keys:   []*bundle.PrivateKey{v.key}, FrameSize: 256 << 10, Level: 1,
	}
	if edit != nil {
		edit(&o)
	}
	f, err := os.CreateTemp(v.dir, "*.abu")
	must(tb, err)
	must(tb, f.Close())
	_, err = bundle.Create(context.Background(), f.Name(), o)
	must(tb, err)
	return f.Name()
}

// newDisk returns a device that runs image as version 1.0.0 in slot a, with
// slot b empty.
func (v *vendor) newDisk(tb testing.TB, image []byte) *blockdevtest.Disk {
	tb.Helper()
	disk := blockdevtest.New(diskSize, 512)
	must(tb, partition.Write(disk, &partition.Table{Scheme: partition.MBR, DiskID: "5ab0075e", Parts: []partition.Part{
		{Number: 1, Start: bootStart, Size: bootSize, Type: partition.TypeMBRLinux},
		{Number: 2, Start: slotAAt, Size: slotSize, Type: partition.TypeMBRLinux},
		{Number: 3, Start: slotBAt, Size: slotSize, Type: partition.TypeMBRLinux},
		{Number: 4, Start: dataAt, Size: diskSize - dataAt, Type: partition.TypeMBRLinux},
	}}))
	l := bootctl.Layout{ID: "0badcafe", BootPart: 1, APart: 2, BPart: 3, DataPart: 4}
	at := int64(bootStart)
	for _, f := range bootctl.PreallocatedFiles() {
		must(tb, l.Place(f.Path, bootctl.Extent{Off: at, Len: f.Size}))
		at += (f.Size + 4095) / 4096 * 4096
	}
	must(tb, bootctl.Format(disk, l, bootctl.State{Seq: 1, Primary: slot.A, A: bootctl.Flags{OK: true}, BKind: bootctl.KindSlot}))
	_, err := disk.WriteAt(image, slotAAt)
	must(tb, err)
	store, err := bootctl.Open(disk, l.State.Off)
	must(tb, err)
	must(tb, store.SetArgs(bootctl.SystemA, bootctl.Args{Device: "console=ttyS0"}))
	device, err := DeviceRecord{Product: "gw", Compatible: "gw-x86"}.Encode()
	must(tb, err)
	must(tb, store.SetRecord(bootctl.RecordDevice, device))
	must(tb, store.SetRecord(bootctl.RecordKeyring, v.ring.Marshal()))
	v.claim(tb, store, image)
	return disk.Clone()
}

// claim records version 1.0.0 in slot a.
func (v *vendor) claim(tb testing.TB, store *bootctl.Store, image []byte) {
	tb.Helper()
	f, err := os.Open(v.bundleFile(tb, image, func(o *bundle.CreateOptions) { o.Version = "1.0.0" }))
	must(tb, err)
	defer f.Close()
	r, err := bundle.Open(bundle.NewStream(f), v.ring)
	must(tb, err)
	record := SlotRecord{State: RecordWritten, Committed: true, Envelope: r.Envelope(), Keyrings: r.Keyrings()}
	b, err := record.Encode()
	must(tb, err)
	must(tb, store.SetRecord(bootctl.RecordSlotA, b))
}

// updater opens the device as if this slot were running.
func updater(disk *blockdevtest.Disk, running slot.ID, why bootctl.Why) (*Updater, error) {
	dev, err := OnDisk(disk, running, why)
	if err != nil {
		return nil, err
	}
	return Open(dev, Options{AgentVersion: "1.0.0"})
}

func mustOpen(tb testing.TB, disk *blockdevtest.Disk, running slot.ID, why bootctl.Why) *Updater {
	tb.Helper()
	u, err := updater(disk, running, why)
	must(tb, err)
	return u
}

// apply applies the bundle at path.
func apply(u *Updater, path string, o ApplyOptions) (Applied, error) {
	ctx := context.Background()
	src, err := source.Open(ctx, path, nil, source.Options{})
	if err != nil {
		return Applied{}, err
	}
	defer src.Close()
	return u.Apply(ctx, src, o)
}

// holds reports whether a slot begins with image.
func holds(tb testing.TB, disk *blockdevtest.Disk, id slot.ID, image []byte) bool {
	tb.Helper()
	at := int64(slotAAt)
	if id == slot.B {
		at = slotBAt
	}
	b := make([]byte, len(image))
	_, err := disk.ReadAt(b, at)
	must(tb, err)
	return bytes.Equal(b, image)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
