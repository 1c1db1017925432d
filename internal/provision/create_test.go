package provision

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

func TestCreateImageJudged(t *testing.T) {
	v := newVendor(t)
	path := v.bundle(t, fakeBoot())
	for _, fw := range []Firmware{BIOS, UEFI} {
		t.Run(fw.String(), func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "gateway.img")
			created, err := CreateImage(t.Context(), img, v.options(t, path, fw))
			must(t, err)
			if created.Version != "1.2.3" || !created.BIOS || created.UEFI != (fw == UEFI) {
				t.Errorf("created %+v", created)
			}
			dev, err := blockdev.Open(img, blockdev.Options{})
			must(t, err)
			defer dev.Close()
			checkTable(t, img, dev, created.Table)
			checkLoader(t, dev, created.Table)
			checkBoot(t, img, dev, created.Table)
			checkUpdater(t, img, v.image)

			st, err := os.Stat(img)
			must(t, err)
			if used := st.Sys().(*syscall.Stat_t).Blocks * 512; used > 40<<20 {
				t.Errorf("%d of %d bytes are allocated: not sparse", used, st.Size())
			}
		})
	}
}

func checkTable(t *testing.T, img string, dev blockdev.Device, want *partition.Table) {
	t.Helper()
	judge(t, tool(t, "sfdisk", "fdisk"), "--verify", img)
	if want.Scheme == partition.GPT {
		if out := judge(t, tool(t, "sgdisk", "gdisk"), "-v", img); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk: %s", out)
		}
	}
	got, err := partition.Read(dev)
	must(t, err)
	if fmt.Sprint(got.Parts) != fmt.Sprint(want.Parts) {
		t.Errorf("table %+v, want %+v", got, want)
	}
}

// checkLoader follows the addresses as the BIOS, boot.img and core.img do.
func checkLoader(t *testing.T, dev blockdev.Device, table *partition.Table) {
	t.Helper()
	lba0 := read(t, dev, 0, sector)
	if lba0[0] != 0xB0 || !bytes.Equal(lba0[bootDriveCheck:][:2], []byte{0x90, 0x90}) {
		t.Error("no boot code in the first sector")
	}
	core := int64(le.Uint64(lba0[bootKernelLBA:])) * sector
	limit := int64(1 << 20) // the MBR gap
	if table.Scheme == partition.GPT {
		p, _ := table.Part(2)
		if core != p.Start || p.Type != partition.TypeBIOSBoot {
			t.Errorf("core.img at %d, BIOS boot partition %+v", core, p)
		}
		limit = p.End()
	}
	first := read(t, dev, core, sector)
	rest, n := int64(le.Uint64(first[coreListStart:]))*sector, int64(le.Uint16(first[coreListLength:]))
	if rest != core+sector || rest+n*sector > limit {
		t.Errorf("the rest of core.img: %d sectors at %d", n, rest)
	}
	got := append(first[:coreListStart:coreListStart], read(t, dev, rest, int(n*sector))...)
	want := fakeBoot().BIOS.Core
	want = append(want[:coreListStart:coreListStart], want[sector:]...)
	if !bytes.Equal(got[:len(want)], want) {
		t.Error("core.img does not load as it is")
	}
	if table.Scheme == partition.GPT {
		esp := extract(t, dev, table, 1)
		judge(t, tool(t, "fsck.fat", "dosfstools"), "-n", esp)
		for _, name := range []string{"/EFI/abupdate/grubx64.efi", "/EFI/BOOT/BOOTX64.EFI"} {
			out := filepath.Join(t.TempDir(), "efi")
			judge(t, tool(t, "mcopy", "mtools"), "-i", esp, "::"+name, out)
			if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, fakeBoot().EFI) {
				t.Errorf("%s: %d bytes (%v)", name, len(got), err)
			}
		}
	}
}

// checkBoot looks at abboot, and asks the model what GRUB would boot.
func checkBoot(t *testing.T, img string, dev blockdev.Device, table *partition.Table) {
	t.Helper()
	number := map[partition.Scheme]int{partition.MBR: 1, partition.GPT: 3}[table.Scheme]
	boot, _ := table.Part(number)
	abboot := fmt.Sprintf("%s?offset=%d", img, boot.Start)
	judge(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", abboot)
	cfg := judge(t, tool(t, "debugfs", "e2fsprogs"), "-R", "cat "+bootctl.GrubConfigPath, abboot)
	stateOff, err := bootctl.Find(dev)
	must(t, err)
	store, err := bootctl.Open(dev, stateOff)
	must(t, err)
	layout := store.Layout()
	a, _ := table.Part(layout.APart)
	for _, want := range []string{fmt.Sprintf("\"%d\"", stateOff/sector), a.PartUUID, layout.ID, `ab_serial="1"`} {
		if !strings.Contains(cfg, want) {
			t.Errorf("grub.cfg does not have %s", want)
		}
	}
	// Its files, as a file system shows them, lie where the address table says.
	for path, e := range map[string]bootctl.Extent{
		bootctl.Env0Path: layout.Env[0], bootctl.Env1Path: layout.Env[1], bootctl.ArgsPath(bootctl.SystemA): layout.Args[0],
	} {
		if e.Off < boot.Start || e.End() > boot.End() {
			t.Errorf("%s at %+v is outside of abboot", path, e)
		}
		if out := judge(t, tool(t, "debugfs", "e2fsprogs"), "-R", "cat "+path, abboot); out != string(read(t, dev, e.Off, int(e.Len))) {
			t.Errorf("%s does not lie at %+v", path, e)
		}
	}
	m := bootmodel.Machine{Dev: dev, Layout: layout, Files: func(s bootctl.System) bootmodel.Files {
		if s == bootctl.SystemA {
			return bootmodel.Loadable
		}
		return bootmodel.Missing
	}}
	out := m.Boot()
	if out.System != bootctl.SystemA || out.Why != bootctl.WhyGood || out.Args.Image != "quiet" || !strings.HasPrefix(out.Args.Device, DefaultKernelArgs+" ab.data=") {
		t.Errorf("GRUB would boot %v with %+v", out, out.Args)
	}
}

// checkUpdater opens the disk as the agent does.
func checkUpdater(t *testing.T, img string, image []byte) {
	t.Helper()
	d, err := update.OpenImage(img, update.ReadWrite)
	must(t, err)
	defer d.Close()
	u, err := update.Open(d, update.Options{AgentVersion: "1.0.0"})
	must(t, err)
	s, err := u.Status()
	must(t, err)
	a, b := s.Slots["a"], s.Slots["b"]
	if s.Booted != "a" || !s.Committed || s.Next != "a" || s.Phase != "idle" || s.Product != "gateway" ||
		a.Version != "1.2.3" || a.State != update.SlotGood || b.State != update.SlotEmpty ||
		a.Digest != fmt.Sprintf("%x", sha256.Sum256(image)) || a.InstalledAt != 12345 {
		t.Errorf("status %+v", s)
	}
}

func read(t testing.TB, dev blockdev.Device, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := dev.ReadAt(b, off)
	must(t, err)
	return b
}

// extract copies a partition to a file of its own.
func extract(t *testing.T, dev blockdev.Device, table *partition.Table, number int) string {
	t.Helper()
	p, ok := table.Part(number)
	if !ok {
		t.Fatalf("no partition %d", number)
	}
	path := filepath.Join(t.TempDir(), "part.img")
	must(t, os.WriteFile(path, read(t, dev, p.Start, int(p.Size)), 0o600))
	return path
}

// onDisk makes a disk on d instead of in a file.
func onDisk(t *testing.T, d *blockdevtest.Disk, o Options) error {
	t.Helper()
	o.Progress = func(string, int64, int64) {}
	b, err := openBundle(o)
	must(t, err)
	p, err := newPlan(o.Firmware, o.Size, o.SlotSize, o.Random)
	must(t, err)
	_, err = (&disk{dev: d, plan: p, o: o, bundle: b}).make(t.Context())
	return err
}

func TestMakeIsDeterministic(t *testing.T) {
	v := newVendor(t)
	path := v.bundle(t, fakeBoot())
	var logs [2][]blockdevtest.Op
	for i := range logs {
		o := v.options(t, path, UEFI)
		d := blockdevtest.New(o.Size, sector)
		must(t, onDisk(t, d, o))
		logs[i] = d.Log()
	}
	if !reflect.DeepEqual(logs[0], logs[1]) {
		t.Error("the same input made two disks")
	}
}

// TestMakeWithFaults fails each write and each Sync in turn: none may go
// unnoticed, or a device leaves the factory with it.
func TestMakeWithFaults(t *testing.T) {
	v := newVendor(t)
	v.image = v.image[:2<<20]
	path := v.bundle(t, fakeBoot())
	fault := errors.New("input/output error")
	for n := 0; ; n++ {
		o := v.options(t, path, UEFI)
		d := blockdevtest.New(o.Size, sector)
		d.Fail(n, fault, false)
		err := onDisk(t, d, o)
		if n >= d.Ops() {
			must(t, err)
			if last := d.Log()[len(d.Log())-1]; !last.Sync {
				t.Errorf("ends in %v: not durable", last)
			}
			t.Logf("%d operations", n)
			return
		}
		if !errors.Is(err, fault) {
			t.Errorf("operation %d failed, and the result is %v", n, err)
		}
	}
}

func TestCreateImageRefusals(t *testing.T) {
	v := newVendor(t)
	path := v.bundle(t, fakeBoot())
	other, err := bundle.NewKeyring(1)
	must(t, err)
	stranger, err := bundle.GenerateKey(bundle.Ed25519)
	must(t, err)
	must(t, other.Add(stranger.Public()))
	for name, tc := range map[string]struct {
		change func(o *Options)
		want   error
	}{
		"signature":          {func(o *Options) { o.Keyring = other }, bundle.ErrSignature},
		"no bundle":          {func(o *Options) { o.Bundle = bundle.NewStream(strings.NewReader("no tar")) }, bundle.ErrFormat},
		"kind of device":     {func(o *Options) { o.Compatible = "gw-3" }, bundle.ErrIncompatible},
		"slot too small":     {func(o *Options) { o.SlotSize = 5 << 20 }, update.ErrNoFit},
		"disk too small":     {func(o *Options) { o.Size = 289 << 20 }, update.ErrNoFit},
		"no size":            {func(o *Options) { o.Size = 0 }, update.ErrNoFit},
		"not whole MiB":      {func(o *Options) { o.Size++ }, update.ErrUsage},
		"no slots":           {func(o *Options) { o.SlotSize = 0 }, update.ErrUsage},
		"arguments":          {func(o *Options) { o.KernelArgs = "root=/dev/sda1" }, update.ErrUsage},
		"no more randomness": {func(o *Options) { o.Random = strings.NewReader("few") }, nil},
		"cancelled":          {nil, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o, ctx := v.options(t, path, BIOS), t.Context()
			if tc.change != nil {
				tc.change(&o)
			} else {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				cancel()
			}
			img := filepath.Join(dir, "gateway.img")
			must(t, os.WriteFile(img, []byte("what was there"), 0o600))
			_, err := CreateImage(ctx, img, o)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			left, err := os.ReadDir(dir)
			must(t, err)
			if data, err := os.ReadFile(img); len(left) != 1 || string(data) != "what was there" {
				t.Errorf("left behind: %v, %q (%v)", left, data, err)
			}
		})
	}
}

func TestCreateImageWithTheHostsGrub(t *testing.T) {
	v := newVendor(t)
	o := v.options(t, v.bundle(t, nil), UEFI)
	o.Grub = func(context.Context) (*BootImage, error) { return fakeBoot(), nil }
	_, err := CreateImage(t.Context(), filepath.Join(t.TempDir(), "a.img"), o)
	must(t, err)

	o = v.options(t, v.bundle(t, nil), UEFI)
	o.Grub = func(ctx context.Context) (*BootImage, error) { return BuildBootImage(ctx, t.TempDir(), true, true) }
	_, err = CreateImage(t.Context(), filepath.Join(t.TempDir(), "a.img"), o)
	var h interface{ Hint() string }
	if !errors.Is(err, ErrGrub) || !errors.As(err, &h) || !strings.Contains(h.Hint(), "grub-pc-bin") {
		t.Errorf("without GRUB: %v", err)
	}

	biosOnly := fakeBoot()
	biosOnly.EFI = nil
	_, err = CreateImage(t.Context(), filepath.Join(t.TempDir(), "a.img"), v.options(t, v.bundle(t, biosOnly), UEFI))
	if !errors.Is(err, ErrGrub) {
		t.Errorf("UEFI without an EFI loader: %v", err)
	}
}
