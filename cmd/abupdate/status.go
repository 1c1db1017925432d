package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/internal/update"
)

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the slots, what boots next, and how the last update went",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			u, done, err := a.openUpdater(c.Context(), update.ReadOnly)
			if err != nil {
				return err
			}
			defer done()
			s, err := u.Status()
			if err != nil {
				return err
			}
			a.ui.Result(s, func() { a.printStatus(s, u) })
			return nil
		},
	}
}

func (a *app) printStatus(s update.Status, u *update.Updater) {
	committed := "committed"
	if !s.Committed {
		committed = "NOT committed"
	}
	booted, words := "booted   ", phaseWords[s.Phase]
	if a.disk != "" { // nothing runs from it
		booted, words = "boots    ", imageWords[s.Phase]
	}
	a.ui.Printf("product   %s\n%s slot %s, %s\nphase     %s: %s\nnext boot %s\n", s.Product, booted, s.Booted, committed, s.Phase, words, systemWords(s.Next))
	loader := "ours"
	if !s.Bootloader.Ours {
		loader = "NOT ours: no update is accepted (see: abupdate doctor)"
	}
	a.ui.Printf("loader    %s, %s; boot state copies: %v, %v\n\n", s.Bootloader.Firmware, loader, s.Bootloader.Env[0], s.Bootloader.Env[1])
	a.drawDisk(u)
	for _, id := range slot.All {
		st := s.Slots[id.String()]
		line := fmt.Sprintf("slot %v    %-8s %s", id, st.State, st.Version)
		if st.State == update.SlotOld {
			line += "not there before: abupdate migrate finish"
		}
		if st.TriesLeft > 0 {
			line += fmt.Sprintf("  tries left: %d", st.TriesLeft)
		}
		if st.InstalledAt > 0 {
			line += "  written " + time.Unix(st.InstalledAt, 0).UTC().Format(time.RFC3339)
		}
		a.ui.Printf("%s\n", strings.TrimRight(line, " "))
	}
	if r := s.LastResult; r != nil {
		a.ui.Printf("\nlast      ")
		a.printResult(*r)
	}
}

// systemWords names a system that boots.
func systemWords(system string) string {
	switch system {
	case bootctl.SystemOld.String():
		return "the old system, from before the migration"
	case bootctl.SystemMigrator.String():
		return "the migrator"
	}
	return "slot " + system
}

// phaseWords explains the phases to people.
var phaseWords = map[string]string{
	"idle":        "nothing under way",
	"writing":     "an apply is at work or was interrupted; run it again to finish it",
	"written":     "an update waits for the orderly reboot",
	"armed":       "the next boot is a trial of the other slot",
	"trial":       "this boot is a trial; the health check decides",
	"last-resort": "booted although nothing was known to be good; adopt it with: abupdate commit",
}

// imageWords explain the phases of a disk image.
var imageWords = map[string]string{
	"idle":        "nothing under way",
	"writing":     "an apply was interrupted; run it again to finish it",
	"written":     "an update was written, and nothing boots it yet: apply it again",
	"armed":       "the next boot is a trial of the other slot",
	"trial":       "the next boot is a trial",
	"last-resort": "nothing is known to be good; one of the systems boots all the same",
}

// drawDisk prints the partitions in their order, each with a bar as long as
// its share of the disk.
func (a *app) drawDisk(u *update.Updater) {
	const width = 40
	size, parts := u.Disk()
	a.ui.Printf("disk      %s\n", formatSize(size))
	for _, p := range parts {
		n := max(1, int(p.Size*width/max(size, 1)))
		a.ui.Printf("  %2d  %-10s %10s  %s\n", p.Number, p.Name, formatSize(p.Size), strings.Repeat("█", n))
	}
	a.ui.Printf("\n")
}
