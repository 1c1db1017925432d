package main

import (
	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/migrate"
)

func newMigrateAbortCommand(a *app) *cobra.Command {
	var reboot bool
	c := &cobra.Command{
		Use:   "abort",
		Short: "Take the migration back",
		Long: `abort undoes what has been done so far. On the old system it removes what was
prepared, and gives the boot back to the old boot loader. On the new system it
makes the old one boot next; there, run it again.

After "abupdate migrate finish" there is nothing to go back to.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.migrateAbort(reboot) },
	}
	c.Flags().BoolVar(&reboot, "reboot", false, "reboot if that is what comes next")
	return c
}

func (a *app) migrateAbort(reboot bool) error {
	if err := a.live("migrate abort"); err != nil {
		return err
	}
	done, err := migrate.Abort()
	if err != nil {
		return err
	}
	words := map[migrate.Aborted]string{
		migrate.AbortedClean:  "The migration was taken back. The device is as it was.",
		migrate.AbortedReboot: "The old boot loader is in charge again. Reboot, so that the kernel forgets the new partitions.",
		migrate.AbortedToOld:  "The next boot is the old system's. There, run it again: abupdate migrate abort",
	}
	a.ui.Result(migrated{result: result{Type: "result", Phase: abortPhases[done]}}, func() { a.ui.Printf("%s\n", words[done]) })
	if reboot && done != migrate.AbortedClean {
		return a.reboot(false)
	}
	return nil
}

// abortPhases are what migrate status says after an abort.
var abortPhases = map[migrate.Aborted]string{
	migrate.AbortedClean: migrate.PhaseNone, migrate.AbortedReboot: migrate.PhaseNone, migrate.AbortedToOld: string(migrate.PhaseFailed),
}
