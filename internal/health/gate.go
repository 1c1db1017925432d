package health

import (
	"context"
	"time"
)

// Gate judges a system on trial.
//
// All its times are durations on the monotonic clock, which package time keeps
// in each Time: setting the date, from 1970 to today as well as back, neither
// ends a trial early nor prolongs it.
type Gate struct {
	// Check is Checker.Run.
	Check    func(context.Context) []Result
	Baseline Baseline
	// Interval is the pause between two rounds, Deadline how long the system
	// has, from the call of Wait on, until nothing required fails.
	Interval, Deadline time.Duration
	// Report, if not nil, is told of each round.
	Report func(round int, v Verdict)
}

// Wait checks until a verdict is good or the deadline leaves no time for
// another round, and returns the last verdict. The error is only that of ctx.
func (g Gate) Wait(ctx context.Context) (Verdict, error) {
	start := time.Now()
	for round := 1; ; round++ {
		v := g.round(ctx, max(0, g.Deadline-time.Since(start)))
		if ctx.Err() != nil { // what was cut short says nothing
			return v, context.Cause(ctx)
		}
		if g.Report != nil {
			g.Report(round, v)
		}
		if v.OK() || g.Deadline-time.Since(start) <= g.Interval {
			return v, nil
		}
		if err := sleep(ctx, g.Interval); err != nil {
			return v, err
		}
	}
}

// round checks once, for no longer than left: a check that hangs must not
// outlast the deadline.
func (g Gate) round(ctx context.Context, left time.Duration) Verdict {
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	return Compare(g.Baseline, g.Check(ctx))
}
