package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/mkfs"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/internal/update"
)

// disk is a disk that is being made.
type disk struct {
	dev    blockdev.Device
	plan   *plan
	o      Options
	args   bootctl.Args // of slot a
	bundle *bundle.Reader
}

// make fills an empty disk. The args block of slot a, which makes it
// bootable, comes last.
func (d *disk) make(ctx context.Context) (*Created, error) {
	if err := partition.Write(d.dev, d.plan.table); err != nil {
		return nil, err
	}
	boot, err := d.readBundle(ctx)
	if err != nil {
		return nil, err
	}
	if boot == nil {
		if d.o.Grub == nil {
			return nil, fmt.Errorf("%w: the bundle has no image %q", ErrGrub, bootImage)
		}
		if boot, err = d.o.Grub(ctx); err != nil {
			return nil, err
		}
	}
	if im, _ := d.bundle.Manifest().Image(rootImage); im.Filesystem != "" {
		if err := bootctl.CanRead(boot.GrubVersion, im.Filesystem, im.FilesystemFeatures); err != nil {
			return nil, fmt.Errorf("%w: %w", bundle.ErrIncompatible, err)
		}
	}
	created := &Created{
		Product: d.bundle.Manifest().Product, Version: d.bundle.Manifest().Version,
		Table: d.plan.table, GrubVersion: boot.GrubVersion,
	}
	if err := d.installLoader(boot, created); err != nil {
		return nil, err
	}
	return created, d.makeBoot(boot)
}

// installLoader puts GRUB where the firmware looks for it.
func (d *disk) installLoader(boot *BootImage, created *Created) error {
	if d.o.Firmware == UEFI && boot.EFI == nil || d.o.Firmware == BIOS && boot.BIOS == nil {
		return hinted{
			fmt.Errorf("%w: GRUB %s has no loader for %v", ErrGrub, boot.GrubVersion, d.o.Firmware),
			"make the boot image with --firmware both",
		}
	}
	if boot.BIOS != nil {
		core := int64(sector) // right behind the MBR
		if d.o.Firmware == UEFI {
			core = d.plan.biosBoot.Start
		}
		if err := boot.BIOS.install(d.dev, core); err != nil {
			return err
		}
		created.BIOS = true
	}
	if d.o.Firmware == UEFI {
		created.UEFI = true
		esp, err := d.part(d.plan.esp)
		if err != nil {
			return err
		}
		// The second name is the one that firmware without a boot entry takes.
		return mkfs.FAT(esp, esp.Size(), d.plan.volumeID, "ABESP", []mkfs.File{
			{Path: "/EFI/abupdate/grubx64.efi", Data: boot.EFI},
			{Path: "/EFI/BOOT/BOOTX64.EFI", Data: boot.EFI},
		})
	}
	return nil
}

func (d *disk) part(p partition.Part) (blockdev.Device, error) {
	return blockdev.Section(d.dev, p.Start, p.Size)
}

// makeBoot makes abboot, the boot state and the records.
func (d *disk) makeBoot(boot *BootImage) error {
	p := d.plan
	abboot := Abboot{
		Start: p.boot.Start, Size: p.boot.Size, FSUUID: p.fsUUID,
		Numbers: Numbers{Boot: p.boot.Number, A: p.a.Number, B: p.b.Number, Data: p.data.Number},
		Grub: bootctl.GrubParams{
			ID: p.id, Scheme: p.scheme, PartUUIDA: p.a.PartUUID, PartUUIDB: p.b.PartUUID,
			Commands: boot.Commands, Serial: strings.Contains(d.o.KernelArgs, "console=ttyS0"),
		},
	}
	dev, err := d.part(p.boot)
	if err != nil {
		return err
	}
	placed, err := abboot.Place()
	if err != nil {
		return err
	}
	if err := placed.Write(dev); err != nil {
		return err
	}
	layout := placed.Layout
	state := bootctl.State{Primary: slot.A, A: bootctl.Flags{OK: true}, BKind: bootctl.KindSlot}
	if err := bootctl.Format(d.dev, layout, state); err != nil {
		return err
	}
	store, err := bootctl.Open(d.dev, layout.State.Off)
	if err != nil {
		return err
	}
	if err := d.writeRecords(store, boot.GrubVersion); err != nil {
		return err
	}
	// COMMIT POINT of the disk: with its args block slot a is one to boot.
	return store.SetArgs(bootctl.SystemA, d.args)
}

// writeRecords gives the device its identity, its trust, and the record of
// slot a.
func (d *disk) writeRecords(store *bootctl.Store, grub string) error {
	m := d.bundle.Manifest()
	device, err := update.DeviceRecord{Product: m.Product, Compatible: d.o.Compatible, GrubVersion: grub}.Encode()
	if err != nil {
		return err
	}
	record, err := (&update.SlotRecord{
		State: update.RecordWritten, Committed: true, InstalledAt: d.o.InstalledAt,
		Envelope: d.bundle.Envelope(), Keyrings: d.bundle.Keyrings(),
	}).Encode()
	if err != nil {
		return err
	}
	ring := d.bundle.Keyring()
	epoch := strconv.FormatUint(max(m.Epoch, ring.MinEpoch), 10)
	return errors.Join(
		store.SetRecord(bootctl.RecordDevice, device),
		store.SetRecord(bootctl.RecordKeyring, ring.Marshal()),
		store.SetRecord(bootctl.RecordEpoch, []byte(epoch)),
		store.SetRecord(bootctl.RecordSlotA, record),
	)
}

// Names of the images in a bundle.
const (
	rootImage = "rootfs"
	bootImage = "boot"
)

// readBundle writes the root image to slot a, checks the whole bundle, and
// returns its boot image, nil when it has none.
func (d *disk) readBundle(ctx context.Context) (boot *BootImage, err error) {
	for {
		ir, err := d.bundle.Next()
		if err == io.EOF {
			return boot, nil
		}
		if err != nil {
			return nil, err
		}
		switch ir.Image().Name {
		case rootImage:
			err = d.writeSlot(ctx, ir)
		case bootImage:
			boot, err = ReadBootImage(ctx, ir)
		default:
			err = eachFrame(ctx, ir, func(bundle.Frame, []byte) error { return nil })
		}
		if err != nil {
			return nil, err
		}
	}
}

// ReadBootImage reads the boot image of a bundle, of which ir is the next one.
func ReadBootImage(ctx context.Context, ir *bundle.ImageReader) (*BootImage, error) {
	if ir.Image().Size > maxBootImage {
		return nil, fmt.Errorf("%w: a boot image of %d bytes", bundle.ErrIncompatible, ir.Image().Size)
	}
	var data bytes.Buffer
	err := eachFrame(ctx, ir, func(_ bundle.Frame, plain []byte) error {
		data.Write(plain)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ParseBootImage(data.Bytes())
}

// writeSlot writes an image to slot a and reads it back.
func (d *disk) writeSlot(ctx context.Context, ir *bundle.ImageReader) error {
	dev, err := d.part(d.plan.a)
	if err != nil {
		return err
	}
	size := ir.Image().Size
	w, err := partition.NewSlotWriter(dev, size)
	if err != nil {
		return err
	}
	var pieces []partition.Piece
	err = eachFrame(ctx, ir, func(f bundle.Frame, plain []byte) error {
		pieces = append(pieces, partition.Piece{Off: f.Off, Len: f.Len, SHA256: f.SHA256, Zero: f.Zero})
		d.o.Progress("writing slot a", f.Off+f.Len, size)
		return writeError(w.WriteFrame(f.Off, plain))
	})
	if err != nil {
		return err
	}
	if err := w.Finish(); err != nil {
		return writeError(err)
	}
	return writeError(w.Verify(ctx, pieces, func(done int64) { d.o.Progress("reading slot a back", done, size) }))
}

// writeError says that writing failed, not the bundle.
func writeError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", update.ErrWrite, err)
}

// eachFrame calls use with every frame of an image, checked and decoded. The
// bytes are good until use returns.
func eachFrame(ctx context.Context, ir *bundle.ImageReader, use func(f bundle.Frame, plain []byte) error) error {
	dec, err := bundle.NewDecoder(int(ir.Image().FrameSize))
	if err != nil {
		return err
	}
	defer dec.Close()
	compressed, plain := make([]byte, ir.MaxCompressed()), blockdev.AlignedBuffer(int(ir.Image().FrameSize))
	for _, f := range ir.Frames() {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, data, err := ir.ReadFrame(compressed)
		if err != nil {
			return err
		}
		out, err := dec.Decode(plain, f, data)
		if err != nil {
			return err
		}
		if err := use(f, out); err != nil {
			return err
		}
	}
	return nil
}
