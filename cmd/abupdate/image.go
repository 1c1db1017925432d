package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/provision"
)

func newImageCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "Make factory disk images",
	}
	c.AddCommand(newImageCreateCommand(app))
	return c
}

// imageFlags are the flags of image create.
type imageFlags struct {
	bundle, keyring, compatible, firmware, kernelArgs, grubDir, out string
	size, slotSize                                                  sizeFlag
}

func newImageCreateCommand(app *app) *cobra.Command {
	var f imageFlags
	c := &cobra.Command{
		Use:   "create",
		Short: "Make the disk of a new device from a bundle",
		Long: `create makes the disk image of a new device: partition table, boot loader, boot
state, and slot a with the bundle's system, read back against the signed
hashes. Slot b is empty. It needs no root, and the image is a sparse file.

With --firmware bios the disk has an MBR: 1 abboot, 2 slot a, 3 slot b, 4 data.
With --firmware uefi it has a GPT and also boots on BIOS: 1 ESP, 2 BIOS boot,
3 abboot, 4 slot a, 5 slot b, 6 data. The data partition is left unformatted.

GRUB comes from the bundle's boot image, else from --grub-dir of this host.`,
		Example: `  abupdate image create --bundle B.abu --keyring K.json --compatible gw \
      --firmware bios --size 4GiB --slot-size 1GiB --out gateway.img`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return app.imageCreate(c.Context(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.bundle, "bundle", "", "bundle `B.abu` with the first system")
	flags.StringVar(&f.keyring, "keyring", "", "keyring `K.json` that the bundle is verified with and the device will trust")
	flags.StringVar(&f.compatible, "compatible", "", "`KIND` of the device: one of the bundle's compatible names")
	flags.StringVar(&f.firmware, "firmware", "", "`bios|uefi`")
	flags.Var(&f.size, "size", "`SIZE` of the disk, such as 4GiB")
	flags.Var(&f.slotSize, "slot-size", "`SIZE` of each of the two slots, such as 1GiB; it can never change")
	flags.StringVar(&f.out, "out", "", "`FILE` to make")
	flags.StringVar(&f.kernelArgs, "kernel-args", provision.DefaultKernelArgs,
		"kernel `ARGS` of this device, kept by all updates; the default is for screen and first serial port, the port being /dev/console")
	flags.StringVar(&f.grubDir, "grub-dir", provision.HostGrubDir, "`DIR` with GRUB's platform directories, for a bundle without boot image")
	for _, name := range []string{"bundle", "keyring", "compatible", "firmware", "size", "slot-size", "out"} {
		_ = c.MarkFlagRequired(name)
	}
	return c
}

// imageCreated is what image create --json prints.
type imageCreated struct {
	Type       string          `json:"type"` // always "result"
	Code       int             `json:"code"`
	Image      string          `json:"image"`
	Product    string          `json:"product"`
	Version    string          `json:"version"`
	Scheme     string          `json:"scheme"`
	Firmware   []string        `json:"firmware"` // what it boots on
	Grub       string          `json:"grub"`
	Partitions []partitionInfo `json:"partitions"`
}

type partitionInfo struct {
	Number   int    `json:"number"`
	Start    int64  `json:"start"`
	Size     int64  `json:"size"`
	PartUUID string `json:"partuuid"`
}

func (a *app) imageCreate(ctx context.Context, f imageFlags) error {
	firmware, err := provision.ParseFirmware(f.firmware)
	if err != nil {
		return usageError{err: err}
	}
	ring, err := readKeyring(f.keyring)
	if err != nil {
		return err
	}
	in, err := os.Open(f.bundle)
	if err != nil {
		return err
	}
	defer in.Close()
	created, err := provision.CreateImage(ctx, f.out, provision.Options{
		Bundle: bundle.NewStream(in), Keyring: ring, Compatible: f.compatible,
		Firmware: firmware, Size: int64(f.size), SlotSize: int64(f.slotSize), KernelArgs: f.kernelArgs,
		Grub: func(ctx context.Context) (*provision.BootImage, error) {
			a.ui.Say("the bundle has no boot image: taking GRUB from %s", f.grubDir)
			return provision.BuildBootImage(ctx, f.grubDir, true, firmware == provision.UEFI)
		},
		InstalledAt: time.Now().Unix(),
		Progress:    a.ui.Progress,
	})
	if err != nil {
		return err
	}
	out := imageCreated{
		Type: "result", Image: f.out, Product: created.Product, Version: created.Version,
		Scheme: strings.ToLower(created.Table.Scheme.String()), Grub: created.GrubVersion, Firmware: []string{},
	}
	if created.BIOS {
		out.Firmware = append(out.Firmware, "bios")
	}
	if created.UEFI {
		out.Firmware = append(out.Firmware, "uefi")
	}
	for _, p := range created.Table.Parts {
		out.Partitions = append(out.Partitions, partitionInfo{p.Number, p.Start, p.Size, p.PartUUID})
	}
	a.ui.Result(out, func() { a.printImage(out, created.Table) })
	return nil
}

func (a *app) printImage(out imageCreated, t *partition.Table) {
	a.ui.Printf("%s: %s %s in slot a, boots on %s, GRUB %s\n", out.Image, out.Product, out.Version, strings.Join(out.Firmware, " and "), out.Grub)
	for _, p := range t.Parts {
		a.ui.Printf("  %d  %10s at %10s  %s %s\n", p.Number, formatSize(p.Size), formatSize(p.Start), p.PartUUID, p.Name)
	}
}
