package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/update"
)

func newHistoryCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "history",
		Short: "Print what was done to this device, oldest first",
		Long: `history prints what was done to this device, oldest first, as one JSON object a
line with --json. It is kept outside of the slots: both systems see all of it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			u, done, err := a.openUpdater(c.Context(), update.ReadOnly)
			if err != nil {
				return err
			}
			defer done()
			ring, err := u.History()
			if err != nil {
				return err
			}
			for _, r := range ring {
				a.ui.Result(r, func() { a.printResult(r) })
			}
			return nil
		},
	}
}

func (a *app) printResult(r update.Result) {
	verdict := "ok"
	if r.Code != codeDone {
		verdict = "FAILED"
	}
	a.ui.Printf("%s  %-8s slot %s  %-10s %-6s %s\n", time.Unix(r.Time, 0).UTC().Format(time.RFC3339), r.Action, r.Slot, r.Version, verdict, r.Message)
}
