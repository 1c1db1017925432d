package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
)

// createFlags are the flags of bundle create.
type createFlags struct {
	bundle.CreateOptions
	rootfs, boot string
	kernelArgs   string
	keyrings     string
	keys         []string
	frameSize    sizeFlag
	layout       string
	deltaFrom    []string
	out          string
}

func newBundleCreateCommand(a *app) *cobra.Command {
	var f createFlags
	c := &cobra.Command{
		Use:   "create --rootfs IMG --product P --version V --compatible C[,C] [--key KEY.pem…] --out B.abu",
		Short: "Build a bundle from images, and sign it",
		Long: `create compresses the images and writes a signed bundle. The same input gives
the same bytes. Without --key the bundle is not signed yet: see pae and
attach-signature.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.bundleCreate(c.Context(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.rootfs, "rootfs", "", "`IMAGE` of the system, ext4 or xfs")
	flags.StringVar(&f.boot, "boot", "", "`BOOT.tar` of bundle boot-image")
	flags.StringVar(&f.Product, "product", "", "`NAME` of the product")
	flags.StringVar(&f.Version, "version", "", "semantic `VERSION` of the release")
	flags.StringSliceVar(&f.Compatible, "compatible", nil, "device `KINDS` that may install it, with commas between them")
	flags.Uint64Var(&f.Epoch, "epoch", 0, "`NUMBER` to raise when older releases must never be installed again")
	flags.StringVar(&f.MinimumAgent, "minimum-agent", "", "oldest abupdate `VERSION` that may install it")
	flags.IntVar(&f.CPULevel, "cpu-level", 0, "x86-64 `LEVEL` 1 to 4 that the image needs")
	flags.StringVar(&f.kernelArgs, "kernel-args", "", "kernel `ARGUMENTS` that belong to the image")
	flags.StringVar(&f.keyrings, "keyrings", "", "rotation chain `keyrings.json` of keyring sign")
	flags.StringArrayVar(&f.keys, "key", nil, "private key `KEY.pem` to sign with; may be given again")
	flags.IntVar(&f.Level, "level", bundle.DefaultLevel, fmt.Sprintf("zstd `LEVEL`; from %d on the zstd program does it", bundle.ProgramLevel))
	flags.Var(&f.frameSize, "frame-size", "bytes of image in a frame, a power of two `SIZE` (default 4MiB; with --layout files: the most)")
	flags.StringVar(&f.layout, "layout", bundle.LayoutFixed.String(), "`fixed|files`: files lets frames begin where files do, so that devices with another version fetch less")
	flags.StringVar(&f.Previous, "previous", "", "older bundle `OLD.abu`: report, file by file, what the new one costs devices that have it; --layout files also keeps old and new apart")
	flags.StringArrayVar(&f.deltaFrom, "delta-from", nil, "also write a delta from the older bundle `OLD.abu`, beside the new one; may be given again")
	flags.StringVar(&f.out, "out", "", "bundle `B.abu` to write")
	for _, name := range []string{"rootfs", "product", "version", "compatible", "out"} {
		_ = c.MarkFlagRequired(name)
	}
	return c
}

func (a *app) bundleCreate(ctx context.Context, f createFlags) error {
	if err := f.load(); err != nil {
		return err
	}
	if err := f.Check(); err != nil {
		return usagef("%w", err)
	}
	if f.Level >= bundle.ProgramLevel {
		var err error
		if f.ZstdProgram, err = exec.LookPath("zstd"); err != nil {
			a.ui.Warn("no zstd program: compressing at the most the built-in encoder does, not at level %d (install the package zstd)", f.Level)
		}
	}
	f.Progress = func(done, total int64) { a.ui.Progress("compressing", done, total) }
	f.Warn = func(s string) { a.ui.Warn("%s", s) }
	a.warnContract(ctx, f.rootfs)
	m, err := bundle.Create(ctx, f.out, f.CreateOptions)
	if err != nil {
		return err
	}
	if f.Previous != "" {
		if err := a.reportPrevious(f); err != nil {
			return err
		}
	}
	if err := a.createDeltas(ctx, f); err != nil {
		return err
	}
	a.ui.Result(result{Type: "result"}, func() {
		a.ui.Printf("%s: %s %s", f.out, m.Product, m.Version)
		for _, img := range m.Images {
			a.ui.Printf(", %s %s → %s", img.Name, formatSize(img.Size), formatSize(img.CompressedSize))
		}
		a.ui.Printf("\n")
	})
	if len(f.Keys) == 0 {
		a.ui.Say("the bundle is not signed: see abupdate bundle pae --help")
	}
	return nil
}

// load turns the flags into options.
func (f *createFlags) load() (err error) {
	f.FrameSize = int64(f.frameSize)
	if f.Layout, err = bundle.ParseLayout(f.layout); err != nil {
		return usagef("%w", err)
	}
	f.Images = []bundle.ImageSource{{Name: "rootfs", Path: f.rootfs, KernelArgs: f.kernelArgs}}
	if f.boot != "" {
		f.Images = append(f.Images, bundle.ImageSource{Name: "boot", Path: f.boot})
	}
	for _, path := range append(slices.Clone(f.deltaFrom), f.Previous) {
		// Now, and not when the bundle is packed.
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	if f.keyrings != "" {
		if f.Keyrings, err = os.ReadFile(f.keyrings); err != nil {
			return err
		}
	}
	f.Keys, err = readPrivateKeys(f.keys)
	return err
}
