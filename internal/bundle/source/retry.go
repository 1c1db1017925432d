package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// attempts counts failures in a row and waits between them.
type attempts struct {
	src      *httpSource
	failures int
}

// again waits and returns nil if err is worth another attempt. Otherwise it
// returns the error for the caller.
func (a *attempts) again(ctx context.Context, err error) error {
	var f *fault
	if ctx.Err() != nil || !errors.As(err, &f) {
		return a.src.wrap(ctx, err)
	}
	o := a.src.conn.opts
	a.failures++
	if a.failures > o.Retries {
		return a.src.wrap(ctx, fmt.Errorf("%w (failed %d times in a row): try again later", err, a.failures))
	}
	if f.after > o.MaxRetryAfter {
		return a.src.wrap(ctx, fmt.Errorf("%w and asks to come back in %v: try again then", err, f.after))
	}
	if err := sleep(ctx, max(o.backoff(a.failures), f.after)); err != nil {
		return a.src.wrap(ctx, err)
	}
	return nil
}

// progress starts the count anew if gained, the new bytes that one connection
// brought, is enough to say that the server works.
func (a *attempts) progress(gained int64) {
	if gained >= a.src.conn.opts.quota() {
		a.failures = 0
	}
}

// backoff is the wait before the nth retry, n ≥ 1.
func (o Options) backoff(n int) time.Duration {
	d := o.RetryDelay
	for i := 1; i < n && d < o.MaxRetryDelay; i++ {
		d *= 2
	}
	d = min(d, o.MaxRetryDelay)
	return d - time.Duration(rand.Int64N(int64(d/2)+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
