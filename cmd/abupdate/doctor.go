package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/update"
)

// finding is one line of doctor.
type finding struct {
	Name   string `json:"name"`
	Status string `json:"status"` // "ok", "warning" or "problem"
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

const (
	findingOK      = "ok"
	findingWarning = "warning"
	findingProblem = "problem"
)

func newDoctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check what updates on this device rely on",
		Long: `doctor checks what updates rely on and says what to do about each finding. It
changes nothing. Exit code 40 when there is a problem, 0 with warnings only.
With --json it prints one object a finding: name, status (ok, warning, problem),
detail, hint.`,
		Args: cobra.NoArgs,
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
			findings := bootFindings(u, s)
			if a.disk == "" {
				findings = append(findings, machineFindings()...)
			}
			problems := 0
			for _, f := range findings {
				if f.Status == findingProblem {
					problems++
				}
				a.ui.Result(f, func() {
					a.ui.Printf("%-8s %-12s %s\n", f.Status, f.Name, f.Detail)
					if f.Hint != "" {
						a.ui.Printf("%-21s → %s\n", "", f.Hint)
					}
				})
			}
			if problems > 0 {
				return exitStatus(codeBootState)
			}
			return nil
		},
	}
}

// bootFindings judges the boot state and the slots.
func bootFindings(u *update.Updater, s update.Status) []finding {
	var found []finding
	if why := u.Foreign(); why != "" {
		found = append(found, finding{
			"boot loader", findingProblem, "another one is in charge: " + why,
			"make the firmware boot the loader that abupdate installed; no update is accepted before that",
		})
	} else {
		found = append(found, finding{"boot loader", findingOK, "ours (" + s.Bootloader.Firmware + "), and it reads our boot state", ""})
	}
	for i, h := range s.Bootloader.Env {
		f := finding{fmt.Sprintf("boot state %d", i), findingOK, "whole", ""}
		if h != bootctl.CopyOK {
			f.Status, f.Detail, f.Hint = findingWarning, "broken", "the next command that writes repairs it"
		}
		found = append(found, f)
	}
	if s.Committed {
		found = append(found, finding{"running slot", findingOK, "slot " + s.Booted + " is committed", ""})
	} else {
		found = append(found, finding{"running slot", findingWarning, "slot " + s.Booted + " is not committed", "wait for the health check, or decide: abupdate commit, abupdate rollback"})
	}
	other := u.Facts().Target()
	f := finding{"way back", findingOK, fmt.Sprintf("slot %v: %s %s", other, s.Slots[other.String()].State, s.Slots[other.String()].Version), ""}
	switch s.Slots[other.String()].State {
	case update.SlotGood:
	case update.SlotOld:
		f.Detail = "the old system, from before the migration"
		f.Hint = "no update is accepted before it is given up: abupdate migrate finish"
	case update.SlotEmpty, update.SlotWritten, update.SlotTrying, update.SlotBad:
		f.Status = findingWarning
		f.Hint = "there is no second good system yet; the next update makes one"
	}
	return append(found, f, finding{"keyring", findingOK, u.Trust(), ""})
}

// machineFindings judges what surrounds the update on a running machine.
func machineFindings() []finding {
	found := []finding{watchdogFinding()}
	panicSeconds, err := os.ReadFile("/proc/sys/kernel/panic")
	if v := strings.TrimSpace(string(panicSeconds)); err == nil && v != "0" {
		found = append(found, finding{"panic", findingOK, "the kernel reboots after a panic (kernel.panic=" + v + ")", ""})
	} else {
		found = append(found, finding{"panic", findingProblem, "the kernel stops for ever after a panic", "remove what sets kernel.panic=0 (sysctl.d); our boot loader passes panic=10"})
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		f := finding{"arm service", findingOK, "abupdate-arm.service is active: an orderly reboot arms what was written", ""}
		if exec.Command("systemctl", "is-active", "--quiet", "abupdate-arm.service").Run() != nil {
			f = finding{"arm service", findingProblem, "abupdate-arm.service is not active: an orderly reboot would not arm an update", "systemctl enable --now abupdate-arm.service"}
		}
		found = append(found, f)
	}
	return found
}

// watchdogFinding says whether a system that hangs is reset by hardware.
func watchdogFinding() finding {
	if b, err := os.ReadFile("/sys/class/watchdog/watchdog0/identity"); err == nil {
		return finding{"watchdog", findingOK, strings.TrimSpace(string(b)), ""}
	}
	return finding{
		"watchdog", findingWarning, "there is none: a trial that hangs waits for somebody to reset the machine",
		"add a watchdog device to the machine (QEMU and libvirt: i6300esb; VMware: a virtual watchdog timer)",
	}
}
