package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/mkfs"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// The disk of these tests. A carve keeps out of the old system; gather streams
// over its second half.
const (
	crashDisk = 64 * mib
	bedBoot   = 1 * mib
	bedOld    = 20 * mib
	bedA      = 24 * mib
	bedSize   = 4 * mib // of the slots, and of each half of the old system
	bedStage  = 40 * mib
	bedB      = 48 * mib
	bedData   = 56 * mib
)

// bed is a device in the middle of a migration: our GRUB is in charge, and the
// next boot is the migrator's.
type bed struct {
	t      *testing.T
	base   *blockdevtest.Disk
	layout bootctl.Layout
	tier   Tier
	image  []byte
	old    Region // of the old system
	before []byte // what lies there
	j      *Journal
}

func crashMust(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func newCrashBed(t *testing.T, tier Tier) *bed {
	t.Helper()
	b := &bed{t: t, tier: tier, base: blockdevtest.New(crashDisk, sector), old: Region{bedOld, bedSize}}
	if tier == Gather {
		b.old.Size = 2 * bedSize
	}
	b.before = make([]byte, b.old.Size)
	rand.NewChaCha8([32]byte{1}).Read(b.before)
	b.write(b.before, b.old.Start)

	key, err := bundle.GenerateKey(bundle.Ed25519)
	crashMust(t, err)
	ring, err := bundle.NewKeyring(1)
	crashMust(t, err)
	crashMust(t, ring.Add(key.Public()))
	path := b.bundle(key)
	whole, err := os.ReadFile(path)
	crashMust(t, err)
	r, err := bundle.Open(bundle.NewStream(bytes.NewReader(whole)), ring)
	crashMust(t, err)

	b.layout = bootctl.Layout{ID: "0badcafe", BootPart: 3, APart: 4, BPart: 1, DataPart: 2}
	at := int64(bedBoot)
	for _, f := range bootctl.PreallocatedFiles() {
		crashMust(t, b.layout.Place(f.Path, bootctl.Extent{Off: at, Len: f.Size}))
		at += (f.Size + 4095) / 4096 * 4096
	}
	crashMust(t, bootctl.Format(b.base, b.layout, bootctl.StartMigration(bootctl.State{Seq: 1}, migratorTries)))
	store, err := bootctl.Open(b.base, b.layout.State.Off)
	crashMust(t, err)
	crashMust(t, store.SetArgs(bootctl.SystemOld, bootctl.Args{Device: "root=/dev/old"}))
	crashMust(t, store.SetArgs(bootctl.SystemMigrator, bootctl.Args{}))
	crashMust(t, store.SetRecord(bootctl.RecordKeyring, ring.Marshal()))
	record, err := (&update.SlotRecord{State: update.RecordWritten, Envelope: r.Envelope(), Keyrings: r.Keyrings()}).Encode()
	crashMust(t, err)
	crashMust(t, store.SetRecord(bootctl.RecordSlotA, record))

	j := &Journal{
		Format: 1, Phase: PhaseStarted, Layout: L1, Tier: tier, Firmware: "bios", DiskID: "000c0001", DiskSize: crashDisk, SlotSize: bedSize,
		Boot: Region{bedBoot, bedOld - bedBoot}, A: Region{bedA, bedSize}, B: Region{bedB, bedSize}, Data: Region{bedData, crashDisk - bedData},
		BootNumber: 3, ANumber: 4, BNumber: 1, DataNumber: 2, DataMode: DataNew, KeepOld: -1,
		Old:     []OldVolume{{Name: "root", Mount: "/", Filesystem: "ext4", Map: partition.DeviceMap{{Disk: b.old.Start, Len: b.old.Size}}}},
		Product: "gw", Version: "2.0.0", DeviceArgs: "console=ttyS0",
	}
	if tier == Gather {
		j.Stage = b.stage(whole, at)
	} else {
		b.write(b.image, bedA)
	}
	crashMust(t, j.Record(store))
	b.base, b.j = b.base.Clone(), j
	return b
}

func (b *bed) write(p []byte, off int64) {
	b.t.Helper()
	_, err := b.base.WriteAt(p, off)
	crashMust(b.t, err)
}

// bundle makes the new system's image and its bundle.
func (b *bed) bundle(key *bundle.PrivateKey) (path string) {
	b.t.Helper()
	dir := b.t.TempDir()
	raw := filepath.Join(dir, "image")
	f, err := os.Create(raw)
	crashMust(b.t, err)
	defer f.Close()
	crashMust(b.t, f.Truncate(2*mib))
	kernel := make([]byte, 600<<10)
	rand.NewChaCha8([32]byte{2}).Read(kernel)
	_, err = mkfs.Ext4(f, 2*mib, [16]byte{7}, "new", []mkfs.File{
		{Path: "/boot/vmlinuz", Data: kernel}, {Path: "/boot/initramfs", Data: kernel[:100<<10]}, {Path: "/etc/hostname", Data: []byte("new\n")},
	})
	crashMust(b.t, err)
	b.image, err = os.ReadFile(raw)
	crashMust(b.t, err)
	path = filepath.Join(dir, "new.abu")
	_, err = bundle.Create(context.Background(), path, bundle.CreateOptions{
		Product: "gw", Version: "2.0.0", Compatible: []string{"gw-x86"}, Keys: []*bundle.PrivateKey{key}, FrameSize: 256 << 10, Level: 1,
		Images: []bundle.ImageSource{{Name: rootImage, Path: raw, KernelArgs: "quiet"}},
	})
	crashMust(b.t, err)
	return path
}

// stage lays the bundle in two pieces behind the slot, and its map into abboot.
func (b *bed) stage(whole []byte, mapAt int64) *Stage {
	b.t.Helper()
	half := roundUp(int64(len(whole))/2, sector)
	rest := roundUp(int64(len(whole)), sector) - half
	m := StageMap{
		Bundle:  partition.DeviceMap{{Disk: bedStage + 2*mib, Len: half}, {Start: half, Disk: bedStage, Len: rest}},
		Archive: partition.DeviceMap{{Disk: bedStage + 6*mib, Len: mib}},
	}
	b.write(pad(whole[:half]), m.Bundle[0].Disk)
	b.write(pad(whole[half:]), m.Bundle[1].Disk)
	text, err := json.Marshal(m)
	crashMust(b.t, err)
	b.write(pad(text), mapAt)
	sum := sha256.Sum256(text)
	return &Stage{Map: Region{mapAt, int64(len(text))}, MapSHA256: hex.EncodeToString(sum[:]), BundleSize: int64(len(whole))}
}

func pad(p []byte) []byte { return append(bytes.Clone(p), make([]byte, -len(p)&(sector-1))...) }

// The last two blocks of the image stand for its file system: what restore
// writes goes there when it is unmounted.
const (
	bedConfig = 2*mib - 8192
	bedMark   = 2*mib - 4096
)

// bedKernel mounts nothing: a file system is one file of configuration.
type bedKernel struct {
	disk    *blockdevtest.Disk
	devices map[string]Region
	mounted map[string]string // directory → device
}

func (k *bedKernel) Map(name string, m partition.DeviceMap, readOnly bool) (string, error) {
	if readOnly != (name != "ab-a") {
		return "", fmt.Errorf("%s, read-only: %v", name, readOnly)
	}
	k.devices[name] = Region{m[0].Disk, m[0].Len}
	return name, nil
}

func (k *bedKernel) Unmap(name string) error { delete(k.devices, name); return nil }

func (k *bedKernel) Mount(node, dir, _ string, readOnly bool) error {
	name := "old\n"
	if !readOnly {
		config := make([]byte, sector)
		if _, err := k.disk.ReadAt(config, k.devices[node].Start+bedConfig); err != nil {
			return err
		}
		if name = string(bytes.TrimRight(config, "\x00")); name == "" {
			name = "new\n"
		}
		// A file system that is mounted for writing is not clean.
		if _, err := k.disk.WriteAt(pad([]byte("mounted")), k.devices[node].Start+bedMark); err != nil {
			return err
		}
	}
	k.mounted[dir] = node
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		return err
	}
	for file, text := range map[string]string{
		"hostname": name, "passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n", "shadow": "root:*:19000:0:99999:7:::\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "etc", file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (k *bedKernel) Unmount(dir string) error {
	node := k.mounted[dir]
	delete(k.mounted, dir)
	name, err := os.ReadFile(filepath.Join(dir, "etc/hostname"))
	entries, listErr := os.ReadDir(dir)
	err = errors.Join(err, listErr)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil || node != "ab-a" {
		return err
	}
	r := k.devices[node]
	if _, err := k.disk.WriteAt(pad(name), r.Start+bedConfig); err != nil {
		return err
	}
	_, err = k.disk.WriteAt(pad([]byte("clean")), r.Start+bedMark)
	return err
}

// powerOn lets GRUB boot the disk, and checks that what boots is whole: the
// old system as it was, or the new one with the old one's configuration. The
// new one is whole whenever its args block says so, whatever boots.
func (b *bed) powerOn(disk *blockdevtest.Disk) (bootctl.System, error) {
	store, err := bootctl.Open(disk, b.layout.State.Off)
	if err != nil {
		return 0, err
	}
	_, invalid := store.Args(bootctl.SystemA)
	if invalid == nil && !b.isNew(disk) {
		return 0, errors.New("the args block says that the new system is complete, and it is not")
	}
	switch o := b.boot(disk); o.System {
	case bootctl.SystemMigrator:
		return o.System, nil
	case bootctl.SystemOld:
		if !disk.SameIn(b.base, b.old.Start, b.old.Size) {
			return 0, fmt.Errorf("%v boots, and the old system is not whole", o)
		}
		return o.System, nil
	case bootctl.SystemA:
		if o.Why != bootctl.WhyTrial || invalid != nil {
			return 0, fmt.Errorf("%v boots, and the new system is not whole", o)
		}
		return o.System, nil
	case bootctl.SystemB:
		return 0, fmt.Errorf("%v boots, and slot b is empty", o)
	default:
		return 0, fmt.Errorf("nothing boots: %v", o)
	}
}

// isNew reports whether slot a holds the new system with the old one's
// configuration, cleanly unmounted.
func (b *bed) isNew(disk *blockdevtest.Disk) bool {
	got := make([]byte, len(b.image))
	if _, err := disk.ReadAt(got, bedA); err != nil {
		return false
	}
	want := bytes.Clone(b.image)
	copy(want[bedConfig:], pad([]byte("old\n")))
	copy(want[bedMark:], pad([]byte("clean")))
	return bytes.Equal(got, want)
}

// errOld: GRUB has gone back to the old system.
var errOld = errors.New("the old system is back")

// migrate is the device's life from power-on until the next boot is a trial of
// the new system.
func (b *bed) migrate(disk *blockdevtest.Disk) error {
	for range 2 * migratorTries { // boots
		if sys, err := b.powerOn(disk.Clone()); err != nil || sys == bootctl.SystemA {
			return err
		}
		sys, err := b.powerOn(disk)
		if err != nil {
			return err
		}
		if sys == bootctl.SystemOld {
			return errOld
		}
		if out, err := b.turn(disk); err != nil && out == Stuck {
			return err
		}
	}
	return errors.New("the migrator runs again and again")
}

// turn is one run of the migrator.
func (b *bed) turn(disk *blockdevtest.Disk) (Outcome, error) {
	store, err := bootctl.Open(disk, b.layout.State.Off)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(b.t.TempDir(), "")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	m := &Migrator{
		Disk: disk, Store: store, Dir: dir, Log: NewLog(io.Discard),
		Kernel: &bedKernel{disk, make(map[string]Region), make(map[string]string)},
	}
	return m.Run(context.Background())
}
