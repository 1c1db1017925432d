package main

import "github.com/spf13/cobra"

func newMigrateCommand(app *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Make an A/B device out of one with a single system",
	}
	c.AddCommand(newMigratePlanCommand(app))
	return c
}
