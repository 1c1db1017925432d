package main

import (
	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/update"
)

func newRollbackCommand(a *app) *cobra.Command {
	var reboot, carry bool
	c := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to the other system, or give up an update that was not booted yet",
		Long: `rollback arms the other slot for a trial, with the way back. During a trial it
marks the running slot bad and reboots to the other one at once. An update that
was written or armed but not booted is given up.

What the other system has for configuration is what it had when it last ran;
--carry-config gives it the present one (look first: abupdate preserve diff).`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			u, done, err := a.openUpdater(c.Context(), update.ReadWrite)
			if err != nil {
				return err
			}
			defer done()
			step, err := a.rollback(c, u, carry)
			if err != nil {
				return err
			}
			done() // the shutdown runs `abupdate arm`, which needs the lock
			switch {
			case step == update.StepFailTrial:
				return a.reboot(true)
			case (step == update.StepArmOther || step == update.StepBackToOld) && reboot:
				return a.reboot(false)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&carry, "carry-config", false, "carry the present configuration into the other system first")
	c.Flags().BoolVar(&reboot, "reboot", false, "reboot when the other slot is armed")
	return c
}

func (a *app) rollback(c *cobra.Command, u *update.Updater, carry bool) (update.Step, error) {
	if a.disk == "" {
		cfg, err := a.config()
		if err != nil {
			return 0, err
		}
		if err := a.takeBaseline(c.Context(), u, cfg); err != nil {
			return 0, err
		}
	}
	step, err := u.Rollback(c.Context(), carry)
	if err != nil {
		return 0, err
	}
	f := u.Facts()
	if step == update.StepBackToOld {
		if err := a.migrationFailed(u, "rolled back by request"); err != nil {
			a.ui.Warn("%v", err)
		}
	}
	preserved := update.PreserveNone
	if carry && step == update.StepArmOther {
		preserved = u.Preserving()
	}
	said := map[update.Step]string{
		update.StepArmOther:  "The next boot is a trial of slot " + f.Target().String() + ".\n",
		update.StepForget:    "The update was given up. Slot " + f.Running.String() + " stays.\n",
		update.StepDisarm:    "Disarmed. Slot " + f.Running.String() + " stays.\n",
		update.StepBackToOld: "The next boot is the old system, from before the migration.\n",
		update.StepFailTrial: "Slot " + f.Running.String() + " is marked bad. The next boot is slot " + f.Target().String() + ".\n",
	}
	a.ui.Result(result{Type: "result", Phase: f.Phase().String(), Preserve: preserved}, func() { a.ui.Printf("%s", said[step]) })
	return step, nil
}
