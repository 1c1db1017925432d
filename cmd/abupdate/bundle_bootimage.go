package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/atomicfile"
	"github.com/abupdate/abupdate/internal/provision"
)

func newBootImageCommand(app *app) *cobra.Command {
	var dir, firmware, out string
	c := &cobra.Command{
		Use:   "boot-image",
		Short: "Pack the boot loader of new devices for bundle create --boot",
		Long: `boot-image builds GRUB for new devices from the modules in --grub-dir, with all
that it needs inside: it never reads a module from a disk. Take the GRUB of the
distribution that the devices run. Addresses and names are filled in when a
disk is made, so one boot image serves all devices.

Devices in the field keep the boot loader that they were made with.`,
		Example: "  abupdate bundle boot-image --grub-dir /usr/lib/grub --firmware both --out BOOT.tar",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return app.makeBootImage(c.Context(), dir, firmware, out)
		},
	}
	flags := c.Flags()
	flags.StringVar(&dir, "grub-dir", provision.HostGrubDir, "`DIR` that holds i386-pc and x86_64-efi")
	flags.StringVar(&firmware, "firmware", "both", "`bios|uefi|both`")
	flags.StringVar(&out, "out", "", "`BOOT.tar` to write")
	_ = c.MarkFlagRequired("out")
	return c
}

// bootImageMade is what bundle boot-image --json prints.
type bootImageMade struct {
	Type     string   `json:"type"` // always "result"
	Code     int      `json:"code"`
	File     string   `json:"file"`
	Size     int      `json:"size"`
	Grub     string   `json:"grub"`
	Firmware []string `json:"firmware"`
}

func (a *app) makeBootImage(ctx context.Context, dir, firmware, out string) error {
	wants := map[string][]string{"bios": {"bios"}, "uefi": {"uefi"}, "both": {"bios", "uefi"}}[firmware]
	if wants == nil {
		return usagef("--firmware %q: must be bios, uefi or both", firmware)
	}
	image, err := provision.BuildBootImage(ctx, dir, firmware != "uefi", firmware != "bios")
	if err != nil {
		return err
	}
	data, err := image.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(out, data, 0o644); err != nil {
		return err
	}
	made := bootImageMade{Type: "result", File: out, Size: len(data), Grub: image.GrubVersion, Firmware: wants}
	a.ui.Result(made, func() {
		a.ui.Printf("%s: GRUB %s for %s, %s\n", out, image.GrubVersion, firmware, formatSize(int64(len(data))))
	})
	return nil
}
