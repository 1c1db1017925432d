package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/update"
)

func newRebootCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reboot",
		Short: "Arm the written update, if there is one, and reboot",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.live("reboot"); err != nil {
				return err
			}
			if err := a.arm(c.Context()); err != nil {
				return err
			}
			return a.reboot(false)
		},
	}
}

// newArmCommand is what the orderly shutdown runs (abupdate-arm.service). It
// is hidden because people have no use for it.
func newArmCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "arm",
		Short:  "Arm the written update: run by the orderly shutdown",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(c *cobra.Command, _ []string) error { return a.arm(c.Context()) },
	}
}

func (a *app) arm(ctx context.Context) error {
	u, done, err := a.openUpdater(ctx, update.ReadWrite)
	if err != nil {
		return err
	}
	defer done()
	if err := u.Arm(ctx); err != nil {
		return err
	}
	if u.Facts().Phase() == update.PhaseArmed {
		a.leaveWatchdog()
		a.ui.Say("The next boot is a trial of slot %v.", u.Facts().Target())
	}
	return nil
}

// leaveWatchdog starts the watchdog and leaves it running over the reboot: a
// new kernel that hangs before anything feeds it costs one try, not a visit.
func (a *app) leaveWatchdog() {
	cfg, err := a.config()
	if err != nil || a.disk != "" {
		return
	}
	dog, err := openWatchdog(cfg.Watchdog.Device, cfg.Watchdog.Timeout)
	if err != nil {
		a.ui.Warn("%v", err)
	}
	dog.Leave()
}

// reboot restarts the machine: through systemd where it runs, else by the
// reboot program of the init that does. forced asks nothing of services: a
// system that failed its trial need not be able to stop them.
func (a *app) reboot(forced bool) error {
	if a.disk != "" {
		return nil
	}
	a.ui.Say("Rebooting.")
	var cmd *exec.Cmd
	switch _, err := os.Stat("/run/systemd/system"); {
	case err == nil && forced:
		cmd = exec.Command("systemctl", "reboot", "--force")
	case err == nil:
		cmd = exec.Command("systemctl", "reboot")
	default:
		cmd = exec.Command("reboot")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		if !forced {
			return fmt.Errorf("rebooting: %s: %w: %s", cmd, err, out)
		}
		a.ui.Warn("rebooting: %s: %v: %s", cmd, err, out)
	}
	if forced {
		// A failed trial must end, whatever state its init is in. An init that
		// works sends SIGTERM first, and waits for whoever ignores it.
		signal.Reset(unix.SIGTERM)
		time.Sleep(forcedRebootDelay)
		unix.Sync()
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	return nil
}

// forcedRebootDelay is how long a forced reboot leaves to the init system.
const forcedRebootDelay = 60 * time.Second
