package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/migrate"
)

func newMigrateStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how far the migration of this device has come",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := a.live("migrate status"); err != nil {
				return err
			}
			s, err := migrate.ReadStatus()
			if err != nil {
				return err
			}
			a.ui.Result(migrateStatus{"migration", 1, s}, func() { a.printMigrateStatus(s) })
			return nil
		},
	}
}

// migrateStatus is the JSON object of migrate status.
type migrateStatus struct {
	Type          string `json:"type"` // always "migration"
	FormatVersion int    `json:"formatVersion"`
	*migrate.Status
}

// runningWords name the systems for people.
var runningWords = map[string]string{"old": "the old system", "a": "the new system, in slot a", "b": "slot b", "mig": "the migrator"}

func (a *app) printMigrateStatus(s *migrate.Status) {
	line := func(name, text string) {
		if text != "" {
			a.ui.Printf("%-8s %s\n", name, text)
		}
	}
	line("phase", s.Phase)
	line("running", runningWords[s.Running]+", started by "+map[string]string{"old": "its own boot loader", "abupdate": "abupdate's"}[s.Loader])
	if s.Version != "" {
		line("new", s.Product+" "+s.Version+", slots of "+formatSize(s.SlotSize)+", "+string(s.Tier))
	}
	line("reason", s.Reason)
	if s.FinishAt > 0 {
		line("finish", "by itself from "+time.Unix(s.FinishAt, 0).Format(time.RFC1123)+" on")
	}
	line("next", s.Next)
	if s.Log != "" {
		a.ui.Printf("\nthe migrator said:\n")
		for l := range strings.Lines(s.Log) {
			a.ui.Printf("  %s\n", strings.TrimRight(l, "\r\n"))
		}
	}
}
