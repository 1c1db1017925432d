package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/health"
	"github.com/abupdate/abupdate/internal/migrate"
	"github.com/abupdate/abupdate/internal/update"
)

// parity adds to the health gate that the new system of a migration appears to
// others as the old one did. A device whose migration is finished, or that
// never had one, has nothing to be compared with.
func (a *app) parity(u *update.Updater, g *health.Gate) error {
	f := u.Facts()
	if !f.Migrating() || f.Boot.Flags(f.Running).OK {
		return nil
	}
	b, err := u.Device().Store.Record(bootctl.RecordParity)
	if err != nil {
		return err
	}
	before, err := migrate.ParseParity(b)
	checks := g.Check
	g.Check = func(ctx context.Context) []health.Result {
		if err != nil {
			// Strict: the old system is whole, and better than one that nobody can vouch for.
			return append(checks(ctx), health.Result{Name: "parity", Required: true, Detail: "how the old system appeared is not known: " + err.Error()})
		}
		return append(checks(ctx), parityResults(before)...)
	}
	if err == nil {
		g.Baseline.Failed = append(g.Baseline.Failed, before.Excused()...)
		slices.Sort(g.Baseline.Failed)
	}
	return nil
}

func parityResults(before *migrate.Parity) []health.Result {
	now, err := migrate.CaptureParity()
	if err != nil {
		return []health.Result{{Name: "parity", Required: true, Detail: err.Error()}}
	}
	var results []health.Result
	for _, r := range before.Compare(now) {
		results = append(results, health.Result{Name: r.Name, Required: r.Required, OK: r.OK, Detail: r.Detail})
	}
	return results
}

// migrationCommitted notes in the journal of a migration that its new system
// is good.
func (a *app) migrationCommitted(u *update.Updater) error {
	return a.journal(u, func(j *migrate.Journal) bool { return j.Committed(u.Facts().Boot, time.Now()) })
}

// finishIfAsked finishes right after the commit, where start was told to keep
// the old system no longer. What fails there is no failure of the commit: the
// timer tries again.
func (a *app) finishIfAsked(u *update.Updater) {
	j, err := migrate.RecordedJournal(u.Device().Store)
	if err != nil || j.KeepOld != 0 || !j.Due(time.Now()) {
		return
	}
	if err := a.finish(u); err != nil {
		a.ui.Warn("the old system is not given up yet: %v", err)
	}
}

// migrationFailed notes there why the new system is given up.
func (a *app) migrationFailed(u *update.Updater, reason string) error {
	return a.journal(u, func(j *migrate.Journal) bool {
		j.Failed(u.Device().Store, reason)
		return true
	})
}

// journal changes the journal of a migration that is not finished.
func (a *app) journal(u *update.Updater, change func(*migrate.Journal) bool) error {
	if !u.Facts().Migrating() {
		return nil
	}
	store := u.Device().Store
	j, err := migrate.RecordedJournal(store)
	if errors.Is(err, migrate.ErrJournal) {
		a.ui.Warn("%v", err) // it is for people, and for finish, which says so itself
		return nil
	}
	if err != nil || !change(j) {
		return err
	}
	return j.Record(store)
}
