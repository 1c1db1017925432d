package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/config"
	"github.com/abupdate/abupdate/internal/update"
)

// applyFlags are the flags of apply.
type applyFlags struct {
	update.ApplyOptions
	reboot         bool
	rebootExitCode bool
	downloadFirst  bool
	full           string
	limitRate      sizeFlag
}

func newApplyCommand(a *app) *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply SOURCE|-",
		Short: "Write a bundle to the slot that is not running",
		Long: `apply verifies the bundle SOURCE (a file, - for standard input, or an http(s)
address), writes it to the slot that is not running and reads it back. The
orderly shutdown then arms it: the next boot is its trial, and a trial that
fails ends in the running system again.

SOURCE may also be a channel: a file or an address that ends in channel.json, or
in a slash for the channel.json of that directory. It names the latest version;
apply ends with 3 when that runs already, and else takes the cheapest way there:
the delta from the running version if there is one, or what the device lacks of
the whole bundle.

After an interruption run the same command again: what is right is kept.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.apply(c.Context(), args[0], f) },
	}
	flags := c.Flags()
	flags.BoolVar(&f.reboot, "reboot", false, "arm and reboot when the slot is written")
	flags.BoolVar(&f.rebootExitCode, "reboot-exit-code", false, "exit with 4 instead of 0 when a reboot is needed")
	flags.BoolVar(&f.DryRun, "dry-run", false, "say what would be done, and write nothing")
	flags.BoolVar(&f.VerifyFirst, "verify-first", false, "read and check the whole bundle before the first write")
	flags.BoolVar(&f.Reinstall, "reinstall", false, "install the version that is running again")
	flags.BoolVar(&f.AllowDowngrade, "allow-downgrade", false, "accept an older version (never an older epoch)")
	flags.BoolVar(&f.NoPreserve, "no-preserve", false, "do not carry the configuration into the new system")
	flags.BoolVar(&f.downloadFirst, "download-first", false, "fetch the bundle to a file before anything else")
	flags.StringVar(&f.full, "full", "", "whole bundle `SOURCE` (a file or an address), for what a delta cannot make")
	flags.BoolVar(&f.NoReadBack, "no-read-back", false, "for measuring: stop before the read-back, with a slot that cannot be armed")
	_ = flags.MarkHidden("no-read-back")
	flags.Var(&f.limitRate, "limit-rate", "fetch at most `RATE` bytes a second (such as 500KiB)")
	return c
}

func (a *app) apply(ctx context.Context, ref string, f applyFlags) error {
	debug.SetMemoryLimit(memoryLimit)
	cfg, err := a.config()
	if err != nil {
		return err
	}
	u, done, err := a.openUpdater(ctx, update.ReadWrite)
	if err != nil {
		return err
	}
	defer done()
	// Asked before a download that might be for nothing; Apply asks again.
	if _, err := update.Decide(u.Facts(), update.CommandApply); err != nil {
		return err
	}
	if channel, ok := channelRef(ref); ok {
		if ref, err = a.follow(ctx, u, cfg, channel, &f); err != nil {
			return err
		}
	}
	src, err := a.openSource(ctx, ref, cfg, f)
	if err != nil {
		return err
	}
	defer src.Close()
	if f.full != "" {
		if f.Full, err = a.openFull(ctx, f.full, cfg, f); err != nil {
			return err
		}
		defer f.Full.Close()
	}
	if !f.DryRun {
		if err := a.takeBaseline(ctx, u, cfg); err != nil {
			return err
		}
	}
	applied, err := u.Apply(ctx, src, f.ApplyOptions)
	r := result{
		Type: "result", Phase: u.Facts().Phase().String(), Preserve: update.PreserveNone,
		BytesWritten: applied.BytesWritten, BytesFetched: fetched(src, f.Full), BytesReused: applied.BytesReused,
	}
	a.ui.outcome = r
	if errors.Is(err, bundle.ErrSignature) || errors.Is(err, bundle.ErrFormat) {
		discardDownload(cfg) // or the next try would take the bad file again
	}
	if err != nil {
		return err
	}
	if f.DryRun {
		a.ui.Result(r, func() {
			a.ui.Printf("Version %s would be written to slot %v. Nothing was changed.\n", applied.Version, applied.Slot)
		})
		return nil
	}
	if err := a.applied(ctx, u, cfg, applied, r, f); err != nil || !f.reboot {
		return err
	}
	done() // the shutdown runs `abupdate arm`, which needs the lock
	return a.reboot(false)
}

// memoryLimit makes the garbage collector work harder before a small device
// would have to swap, in bytes. Applying a delta keeps 42 MiB, and close to
// that the collector would do nothing but collect.
const memoryLimit = 50 << 20

// applied arms the slot if that was asked for, and reports what was done.
func (a *app) applied(ctx context.Context, u *update.Updater, cfg *config.Config, applied update.Applied, r result, f applyFlags) error {
	if f.reboot {
		if err := u.Arm(ctx); err != nil {
			return err
		}
		a.leaveWatchdog()
		r.Preserve = u.Preserving()
	} else if f.NoPreserve {
		r.Preserve = update.PreserveSkipped
	}
	if f.rebootExitCode && !f.reboot {
		r.Code = codeReboot
	}
	r.Phase = u.Facts().Phase().String()
	a.ui.Result(r, func() {
		a.ui.Printf("Version %s is in slot %v, read back and verified (%s written, %s were right already).\n",
			applied.Version, applied.Slot, formatSize(applied.BytesWritten), formatSize(applied.BytesReused))
		switch {
		case a.disk != "":
			a.ui.Printf("Nothing was preserved: this is a disk image. Its next boot is the trial.\n")
		case !f.reboot:
			a.ui.Printf("It boots for its trial at the next orderly reboot, for instance: abupdate reboot\n")
		}
	})
	if f.downloadFirst {
		discardDownload(cfg)
	}
	if r.Code != codeDone {
		return exitStatus(r.Code)
	}
	return nil
}

// openSource opens the bundle, by way of a file with --download-first. The
// file stays when the command fails, so that the next one resumes it.
func (a *app) openSource(ctx context.Context, ref string, cfg *config.Config, f applyFlags) (source.Source, error) {
	o := sourceOptions(cfg, int64(f.limitRate))
	if !f.downloadFirst || !source.IsURL(ref) {
		return source.Open(ctx, ref, a.stdin, o)
	}
	dest := downloadPath(cfg)
	o.Progress = func(done, size int64) { a.ui.Progress("downloading", done, size) }
	if err := os.MkdirAll(cfg.Download.Directory, 0o700); err != nil {
		return nil, err
	}
	if err := source.Download(ctx, ref, dest, o); err != nil {
		return nil, err
	}
	return source.Open(ctx, dest, nil, o)
}

// openFull opens the source of --full. It is read when the delta is done, and
// in places: standard input has no such.
func (a *app) openFull(ctx context.Context, ref string, cfg *config.Config, f applyFlags) (source.Source, error) {
	if ref == "-" {
		return nil, usagef("--full takes a file or an address, not standard input")
	}
	return source.Open(ctx, ref, nil, sourceOptions(cfg, int64(f.limitRate)))
}

// fetched is what came from all sources, in bytes; full may be nil.
func fetched(src, full source.Source) int64 {
	if full == nil {
		return src.Fetched()
	}
	return src.Fetched() + full.Fetched()
}

// downloadPath is where --download-first stores the bundle.
func downloadPath(cfg *config.Config) string {
	return filepath.Join(cfg.Download.Directory, "download.abu")
}

func discardDownload(cfg *config.Config) { _ = os.Remove(downloadPath(cfg)) }

// sourceOptions is how to talk to servers; a limit of 0 leaves the
// configuration's, in bytes a second.
func sourceOptions(cfg *config.Config, limit int64) source.Options {
	d := cfg.Download
	o := source.Options{
		Proxy: d.Proxy, ProxyFunc: http.ProxyFromEnvironment,
		CAFile: d.CA, ClientCert: d.Cert, ClientKey: d.Key,
		UserAgent: "abupdate/" + version,
		LimitRate: d.LimitRate, IdleTimeout: d.IdleTimeout, MinRate: d.MinRate, Retries: d.Retries,
	}
	if limit > 0 {
		o.LimitRate = limit
	}
	return o
}
