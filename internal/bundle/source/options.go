package source

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"
)

// Options is how to talk to a server. The zero value is usable: no proxy, the
// system's CAs, no rate limit, and the default of each duration and count.
type Options struct {
	// Proxy is the proxy's URL (http, https or socks5). "none" is no proxy
	// whatever ProxyFunc says; empty leaves the choice to ProxyFunc.
	Proxy string
	// ProxyFunc chooses a proxy when Proxy is empty; nil is no proxy. A program
	// that wants HTTPS_PROXY and NO_PROXY honoured passes
	// http.ProxyFromEnvironment: this package reads no environment.
	ProxyFunc func(*http.Request) (*url.URL, error)

	// CAFile is a PEM file of the CAs that may sign the server's certificate,
	// in place of the system's.
	CAFile string
	// ClientCert and ClientKey are PEM files that show who we are.
	ClientCert, ClientKey string
	// UserAgent is sent with each request; empty is "abupdate".
	UserAgent string

	// LimitRate is the most to read, in bytes a second; 0 is no limit.
	LimitRate int64
	// IdleTimeout and MinRate are the stall rule: in each IdleTimeout that is
	// spent waiting for the server, at least IdleTimeout × MinRate bytes must
	// come, otherwise the connection is given up and counts as broken. So
	// silence ends after IdleTimeout, and a server that feeds one byte a second
	// cannot hold the update for ever. Time in which the reader does not read
	// (a slow disk, the rate limit) does not count. 0 is 30 s and 1 KiB/s.
	IdleTimeout time.Duration
	MinRate     int64
	// Retries is how many attempts in a row may fail before the download does.
	// A connection that brought new bytes, IdleTimeout × MinRate of them,
	// starts the count anew. 0 is 8, negative is none.
	Retries int
	// RetryDelay is the wait before the first retry; it doubles up to
	// MaxRetryDelay, each time shortened at random by up to a half, so that
	// many devices do not come back at the same moment. 0 is 1 s and 30 s. A
	// server's Retry-After is obeyed up to MaxRetryAfter (0 is 5 minutes); one
	// that asks for more fails the download.
	RetryDelay, MaxRetryDelay, MaxRetryAfter time.Duration
	// SkipThreshold is from how many bytes on Discard asks the server anew rather
	// than reading past them; 0 is 1 MiB. A new request costs two to four
	// round trips, which at 1 MiB is less than the transfer on most links.
	SkipThreshold int64
	// MaxSize is the longest bundle to read, against a server that never ends;
	// 0 is 64 GiB.
	MaxSize int64
	// Now is the wall clock that certificates are judged by; nil is time.Now.
	Now func() time.Time
	// Progress, if not nil, is told by Download how much of the file is there.
	// It is called from another goroutine than Download's, one call at a time.
	Progress func(done, size int64)
}

// withDefaults fills in what was left zero.
func (o Options) withDefaults() Options {
	setDefault(&o.UserAgent, "abupdate")
	setDefault(&o.IdleTimeout, 30*time.Second)
	setDefault(&o.MinRate, 1<<10)
	setDefault(&o.Retries, 8)
	setDefault(&o.RetryDelay, time.Second)
	setDefault(&o.MaxRetryDelay, 30*time.Second)
	setDefault(&o.MaxRetryAfter, 5*time.Minute)
	setDefault(&o.SkipThreshold, 1<<20)
	setDefault(&o.MaxSize, 64<<30)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (o Options) check() error {
	if o.IdleTimeout < 0 || o.MinRate < 0 || o.LimitRate < 0 || o.RetryDelay < 0 ||
		o.MaxRetryDelay < 0 || o.MaxRetryAfter < 0 || o.SkipThreshold < 0 || o.MaxSize < 0 {
		return fmt.Errorf("%w: a rate, size or duration is negative", ErrOptions)
	}
	return nil
}

// quota is how many bytes the stall rule wants in each IdleTimeout.
func (o Options) quota() int64 {
	return max(1, int64(o.IdleTimeout.Seconds()*float64(o.MinRate)))
}

// limiter returns the rate limiter, or nil. The burst is a quarter of a
// second, so the rate is smooth, and bounds how much is read at a time.
func (o Options) limiter() *rate.Limiter {
	if o.LimitRate == 0 {
		return nil
	}
	burst := min(max(o.LimitRate/4, 512), 256<<10)
	return rate.NewLimiter(rate.Limit(o.LimitRate), int(burst))
}
