package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.ui.Result(struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{version, runtime.Version()}, func() {
				a.ui.Printf("abupdate %s (%s)\n", version, runtime.Version())
			})
			return nil
		},
	}
}
