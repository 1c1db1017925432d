package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/migrate"
)

// migrateStartFlags are the flags of migrate start.
type migrateStartFlags struct {
	migrateFlags
	keepOld        int
	acceptNoReturn bool
	noReboot       bool
}

func newMigrateStartCommand(a *app) *cobra.Command {
	var f migrateStartFlags
	c := &cobra.Command{
		Use:   "start [SOURCE]",
		Short: "Reboot into the migration",
		Long: `start looks once more at everything that prepare has placed, puts the new boot
loader in charge and reboots. The migrator carries the configuration over and
boots the new system for its trial; when anything goes wrong the old system
comes back by itself. With SOURCE it prepares first.

The old system stays until "abupdate migrate finish"; "abupdate migrate abort"
goes back to it. With --keep-old DAYS finish goes by itself that many days after
the new system was found good.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.migrateStart(c.Context(), args, &f) },
	}
	f.add(c)
	c.Flags().IntVar(&f.keepOld, "keep-old", -1, "finish by itself `DAYS` after the new system was found good; 0: at once (default: when the user says so)")
	c.Flags().BoolVar(&f.acceptNoReturn, "accept-no-return", false, "gather: give the old system up before the new one has been tried")
	c.Flags().BoolVar(&f.noReboot, "no-reboot", false, "leave the reboot to the caller")
	_ = c.Flags().MarkHidden("no-reboot")
	return c
}

func (a *app) migrateStart(ctx context.Context, args []string, f *migrateStartFlags) error {
	if err := a.live("migrate start"); err != nil {
		return err
	}
	if f.keepOld < -1 {
		return usagef("--keep-old %d: a number of days", f.keepOld)
	}
	if len(args) == 1 {
		if _, err := a.migratePrepare(ctx, args[0], &f.migrateFlags); err != nil {
			return err
		}
	}
	j, err := migrate.Start(migrate.StartOptions{
		KeepOld: f.keepOld, AcceptNoReturn: f.acceptNoReturn, Parity: captureParity, Progress: a.ui.Progress,
	})
	if err != nil {
		return err
	}
	r := migrated{result: result{Type: "result", Phase: string(migrate.PhaseStarted)}, Tier: j.Tier, Version: j.Version}
	a.ui.Result(r, func() {
		a.ui.Printf("The next boot migrates this device to %s %s.\n", j.Product, j.Version)
	})
	if f.noReboot {
		return nil
	}
	a.leaveWatchdog()
	return a.reboot(false)
}

// captureParity notes how the old system appears, for the new one to be held
// against.
func captureParity(store *bootctl.Store) error {
	p, err := migrate.CaptureParity()
	if err != nil {
		return err
	}
	b, err := p.Encode()
	if err != nil {
		return err
	}
	return store.SetRecord(bootctl.RecordParity, b)
}
