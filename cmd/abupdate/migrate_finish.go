package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/internal/update"
)

func newMigrateFinishCommand(a *app) *cobra.Command {
	keepOld, due := 0, false
	c := &cobra.Command{
		Use:   "finish",
		Short: "Give the old system up: slot b and the data partition take its place",
		Long: `finish runs on the new system, when that is committed. There is no way back from
it: the old system is made unbootable, what is left of it is wiped, and the disk
becomes that of an A/B device. From then on updates are accepted.

With --keep-old DAYS it does nothing yet, and goes by itself that many days from
now (abupdate-finish.timer). After an interruption, run the same command again;
the timer does it, too.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case keepOld < 0:
				return usagef("--keep-old %d: a number of days", keepOld)
			case due && c.Flags().Changed("keep-old"):
				return usagef("--due goes without --keep-old")
			}
			return a.migrateFinish(c.Context(), keepOld, due)
		},
	}
	c.Flags().IntVar(&keepOld, "keep-old", 0, "keep the old system `DAYS` more days, then finish")
	c.Flags().BoolVar(&due, "due", false, "do nothing unless it is time: run by abupdate-finish.timer")
	return c
}

func (a *app) migrateFinish(ctx context.Context, keepOld int, due bool) error {
	u, done, err := a.openUpdater(ctx, update.ReadWrite)
	switch {
	case due && errors.Is(err, update.ErrMigration):
		return nil // the old system runs
	case errors.Is(err, bootctl.ErrBootState):
		return fmt.Errorf("%w: no new system runs here that could take the old one's place: %w", migrate.ErrRefused, err)
	case err != nil:
		return err
	}
	defer done()
	if err := a.migrationCommitted(u); err != nil {
		return err
	}
	j, err := migrate.RecordedJournal(u.Device().Store)
	switch {
	case due && (errors.Is(err, migrate.ErrNoJournal) || err == nil && !j.Due(time.Now())):
		return nil
	case errors.Is(err, migrate.ErrNoJournal):
		return fmt.Errorf("%w: %w", update.ErrNothing, err)
	case err != nil:
		return err
	}
	if keepOld > 0 {
		return a.finishLater(u, j, keepOld)
	}
	return a.finish(u)
}

// finishLater sets the day on which finish goes by itself.
func (a *app) finishLater(u *update.Updater, j *migrate.Journal, days int) error {
	if j.Phase != migrate.PhaseCommitted {
		return fmt.Errorf("%w: the migration is in the phase %q", migrate.ErrRefused, j.Phase)
	}
	at := time.Now().AddDate(0, 0, days)
	j.FinishAt = at.Unix()
	if err := j.Record(u.Device().Store); err != nil {
		return err
	}
	a.ui.Result(result{Type: "result", Phase: string(j.Phase), Preserve: update.PreserveNone}, func() {
		a.ui.Printf("The old system is kept until %s.\n", at.UTC().Format(time.RFC3339))
	})
	return nil
}

// finish gives the old system up.
func (a *app) finish(u *update.Updater) error {
	dev := u.Device()
	if u.Facts().Running != slot.A {
		return fmt.Errorf("%w: slot %v runs: the migration was finished long ago", update.ErrNothing, u.Facts().Running)
	}
	f := &migrate.Finisher{Disk: dev.Disk(), Store: dev.Store, Say: a.ui.Say}
	if disk, ok := dev.Disk().(*blockdev.File); ok && dev.Live {
		f.Machine = migrate.NewLiveDisk(disk.Path(), disk)
	}
	done, err := f.Finish()
	if errors.Is(err, migrate.ErrFinished) {
		return fmt.Errorf("%w: %w", update.ErrNothing, err)
	}
	if err != nil {
		return err
	}
	if err := u.Note(update.ActionMigrate, "the old system was given up; slot b takes updates"); err != nil {
		a.ui.Warn("%v", err)
	}
	a.ui.Result(migrated{result: result{Type: "result", Phase: string(migrate.PhaseDone), Preserve: update.PreserveNone}}, func() {
		a.ui.Printf("The migration is finished. Slot b takes updates: abupdate apply SOURCE\n")
	})
	if done.Reboot {
		a.ui.Warn("the kernel goes by the old partition table until the next reboot: apply an update after that")
	}
	return nil
}
