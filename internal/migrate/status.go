package migrate

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/bootctl"
)

// Status is how far the migration of this device has come.
type Status struct {
	// Running is the system that runs: "old", "a" or "b"; Loader is whose boot
	// loader has started it: "old" or "abupdate".
	Running string `json:"running"`
	Loader  string `json:"loader"`
	// Phase is the journal's, or "none".
	Phase    string `json:"phase"`
	Tier     Tier   `json:"tier,omitempty"`
	Layout   Layout `json:"layout,omitempty"`
	SlotSize int64  `json:"slotSize,omitempty"`
	Product  string `json:"product,omitempty"`
	Version  string `json:"version,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	// Reason is why the last attempt failed, Log the end of what the migrator
	// said.
	Reason   string `json:"reason,omitempty"`
	Log      string `json:"log,omitempty"`
	FinishAt int64  `json:"finishAt,omitempty"` // seconds since 1970; 0: when the user says so
	// Switched: the disk has the trial's table, or a part of the switch.
	Switched bool `json:"switched"`
	// Next says what can be done.
	Next string `json:"next"`
}

// PhaseNone stands for a device that nobody has begun to migrate.
const PhaseNone = "none"

// ReadStatus reads the journal, wherever it is. It writes nothing.
func ReadStatus() (*Status, error) {
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	return h.status()
}

func (h *host) status() (*Status, error) {
	boot, err := h.bootedBy()
	if err != nil {
		return nil, err
	}
	if boot == nil {
		j, err := h.readJournalFile()
		if err != nil {
			return nil, withHint(err, "abupdate migrate abort, then prepare anew")
		}
		s := statusOf(j)
		s.Running, s.Loader = "old", "old"
		s.Next = nextOnOld(j)
		return s, nil
	}
	c, err := h.openCharge(boot, false)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s := statusOf(c.j)
	s.Running, s.Loader = boot.System.String(), "abupdate"
	s.Next = nextAfterSwitch(c.j, boot.System)
	return s, nil
}

func statusOf(j *Journal) *Status {
	if j == nil {
		return &Status{Phase: PhaseNone}
	}
	return &Status{
		Phase: string(j.Phase), Tier: j.Tier, Layout: j.Layout, SlotSize: j.SlotSize, Product: j.Product, Version: j.Version,
		Attempts: j.Attempts, Reason: j.Reason, Log: j.Log, FinishAt: j.FinishAt, Switched: len(j.Undo) > 0,
	}
}

// nextOnOld: the old system's loader is in charge.
func nextOnOld(j *Journal) string {
	switch {
	case j == nil:
		return "nothing has been prepared; see what a migration would do: abupdate migrate plan"
	case len(j.Undo) > 0:
		return "start was interrupted; finish it: abupdate migrate start; or take it back: abupdate migrate abort"
	case j.Phase == PhasePrepared:
		return "everything is in its place: abupdate migrate start; or give it up: abupdate migrate abort"
	}
	return "prepare was interrupted; go on: abupdate migrate prepare SOURCE; or give it up: abupdate migrate abort"
}

// nextAfterSwitch: our GRUB is in charge.
func nextAfterSwitch(j *Journal, running bootctl.System) string {
	if j == nil {
		return "this is an A/B device that was never migrated"
	}
	onOld := running == bootctl.SystemOld
	switch j.Phase {
	case PhasePreparing:
		return "slot a is being written, or that was interrupted: abupdate migrate start SOURCE; or give it up: abupdate migrate abort"
	case PhasePrepared:
		return "everything is in its place: abupdate migrate start; or give it up: abupdate migrate abort"
	case PhaseStarted:
		if onOld {
			return "the migrator's turn comes with the next reboot, or it never came up: abupdate migrate start; or give it up: abupdate migrate abort"
		}
		return "the migrator's turn comes with the next reboot"
	case PhaseStreaming:
		return "the new system is being written from the disk; the device must not be switched off for good"
	case PhaseTrial:
		if onOld {
			return "the new system has failed its trial: abupdate migrate start SOURCE; or give it up: abupdate migrate abort"
		}
		return "the new system is on trial; its health check decides"
	case PhaseFailed:
		return "the old system is as it was; try again: abupdate migrate start SOURCE; or give it up: abupdate migrate abort"
	case PhaseCommitted:
		if onOld {
			return "go on with the new system: reboot; or give it up: abupdate migrate abort"
		}
		return "the new system is good; give the old one up: abupdate migrate finish; or go back to it: abupdate migrate abort"
	case PhaseFinishing:
		return "finish was interrupted; run it again: abupdate migrate finish"
	case PhaseDone:
		return "the migration is over; to update the device: abupdate apply"
	}
	return fmt.Sprintf("internal error: phase %q", j.Phase)
}
