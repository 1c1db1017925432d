package main

import (
	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/update"
)

func newCommitCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "commit",
		Short: "Make the trial slot good: it stays",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			u, done, err := a.openUpdater(c.Context(), update.ReadWrite)
			if err != nil {
				return err
			}
			defer done()
			return a.commit(u)
		},
	}
}

func (a *app) commit(u *update.Updater) error {
	if err := u.Commit(); err != nil {
		return err
	}
	if err := a.migrationCommitted(u); err != nil {
		return err
	}
	a.ui.Result(result{Type: "result", Phase: u.Facts().Phase().String(), Preserve: update.PreserveNone}, func() {
		a.ui.Printf("Slot %v is committed.\n", u.Facts().Running)
	})
	return nil
}
