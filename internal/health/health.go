// Package health decides whether a system that was just updated works.
//
// Invariant: a check that failed before the update does not fail the update
// (a cable that was out then is no fault of the new system), and nothing here
// depends on the wall clock, which may jump from 1970 to today while a trial
// is being judged.
//
// Start with New; take a Baseline before the update, and let Gate judge the
// trial against it.
package health

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Result is what one check found.
type Result struct {
	// Name is the check as the configuration writes it, or the path of a
	// script below its directory.
	Name string `json:"name"`
	// Required says that the system counts as broken when this fails.
	Required bool `json:"required"`
	OK       bool `json:"ok"`
	// Detail is one short line for a person: what is there, or what is not.
	Detail string `json:"detail"`
}

// Options says what to check.
type Options struct {
	// Required and Wanted are checks in the form that ParseCheck reads.
	// A wanted check that fails is reported and decides nothing.
	Required, Wanted []string
	// Directory has the executables of the device's maker and owner, in
	// required/ and wanted/. Empty or missing: none.
	Directory string
	// Timeout is the limit of each check; 0 is 30 s.
	Timeout time.Duration
}

// DefaultRequired and DefaultWanted are the checks of a device that says
// nothing else. Name servers and units are only wanted: a name server may be
// away at just that moment, and every large system has a unit that fails.
func DefaultRequired() []string { return []string{"started", "address", "default-route"} }

// DefaultWanted is explained at DefaultRequired.
func DefaultWanted() []string { return []string{"dns", "units"} }

const defaultTimeout = 30 * time.Second

// maxParallel bounds the checks at work at the same time: a small device just
// after its boot has other things to do.
const maxParallel = 4

// A Checker runs checks. It keeps nothing between runs.
type Checker struct {
	checks  []Check
	options Options
	host    host
}

// New makes a Checker. An error is a mistake in the options.
func New(o Options) (*Checker, error) {
	if o.Timeout < 0 {
		return nil, fmt.Errorf("health checks: negative timeout %v", o.Timeout)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	c := &Checker{options: o, host: realHost()}
	seen := map[string]bool{}
	for i, specs := range [][]string{o.Required, o.Wanted} {
		for _, spec := range specs {
			check, err := ParseCheck(spec)
			if err != nil {
				return nil, err
			}
			if seen[spec] {
				return nil, fmt.Errorf("health check %q is given twice", spec)
			}
			seen[spec] = true
			check.required = i == 0
			c.checks = append(c.checks, check)
		}
	}
	return c, nil
}

// Run makes all checks once and returns their results in the order of the
// options, scripts last. It takes little longer than the slowest check, and
// returns early when ctx ends: what was not done by then has failed.
func (c *Checker) Run(ctx context.Context) []Result {
	checks := append([]Check(nil), c.checks...)
	checks = append(checks, findScripts(c.options.Directory)...)
	results := make([][]Result, len(checks))
	turns := make(chan struct{}, maxParallel)
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			results[i] = c.run(ctx, check)
		})
	}
	wg.Wait()
	var all []Result
	for _, r := range results {
		all = append(all, r...)
	}
	return all
}

// run makes one check, which may have several results.
func (c *Checker) run(ctx context.Context, check Check) []Result {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	found := check.probe(ctx, c.host)
	results := make([]Result, len(found))
	for i, f := range found {
		results[i] = Result{
			Name:     check.name + f.suffix,
			Required: check.required,
			OK:       f.err == nil,
			Detail:   tidy(f.detail),
		}
		if f.err != nil {
			results[i].Detail = tidy(f.err.Error())
		}
	}
	return results
}
