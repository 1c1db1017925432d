package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/config"
	"github.com/abupdate/abupdate/internal/health"
	"github.com/abupdate/abupdate/internal/update"
)

func newHealthCommand(a *app) *cobra.Command {
	var decide bool
	c := &cobra.Command{
		Use:   "health",
		Short: "Check the running system against how it was before the update",
		Long: `health runs the checks of /etc/abupdate/health.d and the built-in ones, and
compares them with the baseline taken before the update: what was broken then
is no failure now. Exit code 50 when the system is not healthy.

With --decide, in a trial, it checks until all is well or the deadline passes;
then it commits the trial, or marks it bad and reboots to the other system. It
is run at each boot (abupdate-health.service).`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.live("health"); err != nil {
				return err
			}
			if decide {
				return a.decide(c.Context())
			}
			return a.health(c.Context())
		},
	}
	c.Flags().BoolVar(&decide, "decide", false, "in a trial: commit, or mark bad and reboot")
	return c
}

// healthReport is what health --json prints.
type healthReport struct {
	OK bool `json:"ok"`
	health.Verdict
}

func (a *app) health(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	u, done, err := a.openUpdater(ctx, update.ReadOnly)
	if err != nil {
		return err
	}
	defer done()
	gate, err := a.gate(u, cfg)
	if err != nil {
		return err
	}
	v := health.Compare(gate.Baseline, gate.Check(ctx))
	a.ui.Result(healthReport{v.OK(), v}, func() { a.printVerdict(v) })
	if !v.OK() {
		return exitStatus(codeHealth)
	}
	return nil
}

func (a *app) printVerdict(v health.Verdict) {
	for _, list := range []struct {
		word    string
		results []health.Result
	}{{"FAILED", v.Failed}, {"warning", v.Warnings}, {"as before", v.Excused}} {
		for _, r := range list.results {
			a.ui.Printf("%-10s %s: %s\n", list.word, r.Name, r.Detail)
		}
	}
	if v.OK() {
		a.ui.Printf("healthy\n")
	}
}

// gate is the health gate of this device's configuration and baseline.
func (a *app) gate(u *update.Updater, cfg *config.Config) (health.Gate, error) {
	checker, err := health.New(healthOptions(cfg))
	if err != nil {
		return health.Gate{}, usageError{err: err, hint: "correct [health] in " + a.configPath}
	}
	g := health.Gate{Check: checker.Run, Interval: cfg.Health.Interval, Deadline: cfg.Trial.Deadline}
	b, err := u.Baseline()
	if err != nil {
		return g, err
	}
	if len(b) > 0 {
		if g.Baseline, err = health.ParseBaseline(b); err != nil {
			// Strict: without a baseline nothing is excused.
			a.ui.Warn("%v; nothing counts as broken before", err)
		}
	}
	err = a.parity(u, &g)
	return g, err
}

func healthOptions(cfg *config.Config) health.Options {
	h := cfg.Health
	return health.Options{Required: h.Required, Wanted: h.Wanted, Directory: h.Directory, Timeout: h.Timeout}
}

// takeBaseline notes what does not work now, before the update, so that it is
// no failure after it.
func (a *app) takeBaseline(ctx context.Context, u *update.Updater, cfg *config.Config) error {
	if a.disk != "" || u.Facts().Phase() == update.PhaseTrial {
		return nil
	}
	checker, err := health.New(healthOptions(cfg))
	if err != nil {
		return usageError{err: err, hint: "correct [health] in " + a.configPath}
	}
	b, err := checker.Baseline(ctx, baselineRounds, cfg.Health.Interval)
	if err != nil {
		return err
	}
	return u.SetBaseline(b.Encode())
}

// baselineRounds is how often a check must fail before the update to be
// excused after it.
const baselineRounds = 2

// decide settles a trial. A boot that is no trial needs no decision.
func (a *app) decide(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	u, done, err := a.openUpdaterWithin(ctx, update.ReadWrite, decisionPatience)
	if err != nil {
		return err
	}
	phase := u.Facts().Phase()
	gate, err := a.gate(u, cfg)
	if err == nil {
		err = a.migrationCommitted(u) // a cut may have come before it
	}
	// The lock is not held while the checks run: they may take minutes, and
	// status, commit and rollback must work meanwhile.
	done()
	if err != nil {
		return err
	}
	if phase != update.PhaseTrial && phase != update.PhaseLastResort {
		a.ui.Say("No trial: nothing to decide.")
		return nil
	}
	dog, err := openWatchdog(cfg.Watchdog.Device, cfg.Watchdog.Timeout)
	if err != nil {
		a.ui.Warn("%v", err)
	}
	feeding, starve := context.WithCancel(ctx)
	defer starve()
	go dog.Feed(feeding)
	gate.Report = func(round int, v health.Verdict) { a.ui.Say("Health, round %d: %v", round, v) }
	verdict, err := gate.Wait(ctx)
	if err != nil {
		dog.Stop()
		return err
	}
	if verdict.OK() {
		dog.Stop()
		return a.adopt(ctx)
	}
	return a.reject(ctx, verdict)
}

// adopt commits the trial, unless somebody has decided it meanwhile.
func (a *app) adopt(ctx context.Context) error {
	u, done, err := a.openUpdaterWithin(ctx, update.ReadWrite, decisionPatience)
	if err != nil {
		return err
	}
	defer done()
	err = a.commit(u)
	switch {
	case errors.Is(err, update.ErrNothing):
		return nil
	case err == nil:
		a.finishIfAsked(u)
	}
	return err
}

// reject ends the trial: back to the other system at once. The watchdog stays
// armed, so that even a reboot that hangs ends.
func (a *app) reject(ctx context.Context, v health.Verdict) error {
	u, done, err := a.openUpdaterWithin(ctx, update.ReadWrite, decisionPatience)
	if err != nil {
		return err
	}
	defer done()
	if p := u.Facts().Phase(); p != update.PhaseTrial && p != update.PhaseLastResort {
		return nil // somebody has decided meanwhile
	}
	unhealthy := fmt.Errorf("%w: %v", update.ErrHealth, v)
	if !u.CanGoBack() {
		a.ui.Warn("there is no other system to go back to: slot %v keeps running, and is not committed", u.Facts().Running)
		return unhealthy
	}
	if err := a.migrationFailed(u, v.String()); err != nil {
		a.ui.Warn("%v", err)
	}
	if err := u.FailTrial(update.ActionHealth, v.String()); err != nil {
		// The deadline timer and GRUB's count of tries end the trial all the same.
		return errors.Join(unhealthy, err)
	}
	a.ui.Warn("%v: going back to %s", unhealthy, wayBack(u.Facts()))
	done() // the shutdown runs `abupdate arm`, which needs the lock
	return a.reboot(true)
}

// wayBack names what boots when the running slot is given up.
func wayBack(f *update.Facts) string {
	if f.Migrating() {
		return "the old system"
	}
	return "slot " + f.Target().String()
}

// decisionPatience is longer than lockPatience: a trial's decision must not be
// lost to another command.
const decisionPatience = time.Minute
