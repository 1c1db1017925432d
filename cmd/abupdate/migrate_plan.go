package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/config"
	"github.com/abupdate/abupdate/internal/migrate"
)

// migratePlanFlags are the flags of migrate plan.
type migratePlanFlags struct {
	slotSize sizeFlag
	tier     string
}

func newMigratePlanCommand(a *app) *cobra.Command {
	var f migratePlanFlags
	c := &cobra.Command{
		Use:   "plan [SOURCE]",
		Short: "Say how this device would become an A/B device, or why it cannot",
		Long: `plan looks at the device and draws its disk as it is, as it would be during the
trial and at the end; it says what is preserved, what becomes of customers'
data, and what speaks against the migration. It writes nothing.

With the bundle SOURCE (a file or an http(s) address) the new system's needs are
taken into account; only its head is read, and its signature is not checked.

With --disk IMAGE no root is needed: partition tables, LVM metadata and file
systems' superblocks are looked at, and what cannot be seen is said.

Exit code 60 when there are reasons against the migration: all are printed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.migratePlan(c.Context(), strings.Join(args, ""), f)
		},
	}
	c.Flags().Var(&f.slotSize, "slot-size", "`SIZE` of each of the two slots, such as 2GiB; it can never change (default: the image and half as much again, or 1.5GiB without SOURCE)")
	c.Flags().StringVar(&f.tier, "tier", "", "`carve|gather` (default: carve if it works)")
	return c
}

// migratePlan is the JSON object of migrate plan.
type migratePlan struct {
	Type          string `json:"type"` // always "plan"
	FormatVersion int    `json:"formatVersion"`
	*migrate.Plan
}

func (a *app) migratePlan(ctx context.Context, ref string, f migratePlanFlags) error {
	o := migrate.Options{SlotSize: int64(f.slotSize)}
	var err error
	if f.tier != "" {
		if o.Tier, err = migrate.ParseTier(f.tier); err != nil {
			return usageError{err: err}
		}
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	var s *migrate.Survey
	if a.disk != "" {
		s, err = migrate.SurveyImage(a.disk)
	} else {
		a.ui.Say("looking at this machine (counting files may take a while)")
		s, err = migrate.SurveyLive(ctx)
	}
	if err != nil {
		return err
	}
	if ref != "" {
		if o.Bundle, err = a.bundleHead(ctx, ref, cfg); err != nil {
			return err
		}
	}
	p := migrate.NewPlan(s, o)
	a.ui.Result(migratePlan{"plan", 1, p}, func() { a.printMigration(p) })
	if p.Err() != nil && !a.json {
		return exitStatus(codeMigration) // the reasons have been printed, with what to do
	}
	return p.Err()
}

// bundleHead reads what the plan needs from the head of a bundle.
func (a *app) bundleHead(ctx context.Context, ref string, cfg *config.Config) (*migrate.Bundle, error) {
	if ref == "-" {
		return nil, usagef("plan reads a bundle from a file or an address, not from standard input")
	}
	src, err := source.Open(ctx, ref, nil, sourceOptions(cfg, 0))
	if err != nil {
		return nil, err
	}
	defer src.Close()
	in, err := src.Open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	u, err := bundle.Inspect(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	if _, ok := u.Manifest.Image("rootfs"); !ok {
		return nil, fmt.Errorf("%s: %w: the bundle has no image \"rootfs\"", ref, bundle.ErrIncompatible)
	}
	return migrate.BundleOf(u.Manifest, -1), nil
}
