package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// errStalled says that the stall rule of Options gave a connection up.
var errStalled = errors.New("the server sends too little or nothing")

// conn sends the requests of one bundle.
type conn struct {
	client *http.Client
	clock  *clock
	url    *url.URL
	opts   Options // with defaults
}

// get asks for the file from off on, under the stall rule from the first
// packet to the last. With ranged it asks for a range, on condition that the
// file still has the given validator, if that is not empty. limit, if not
// negative, ends the range. The body must be closed.
//
// An error is a *fault if another attempt may help.
func (c *conn) get(ctx context.Context, off, limit int64, ranged bool, validator string) (answer, *body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &body{conn: c, ctx: ctx, cancel: cancel}
	b.timer = time.AfterFunc(c.opts.IdleTimeout, func() { cancel(errStalled) })
	ans, resp, err := c.send(ctx, off, limit, ranged, validator)
	for c.clock.learn(err) { // each time to a later moment, and under the timer
		ans, resp, err = c.send(ctx, off, limit, ranged, validator)
	}
	b.timer.Stop()
	if err != nil {
		err = c.explain(ctx, err) // before Close, which cancels ctx
		b.Close()
		return answer{}, nil, err
	}
	b.rc, b.pos, b.end = resp.Body, ans.start, ans.end
	return ans, b, nil
}

func (c *conn) send(ctx context.Context, off, limit int64, ranged bool, validator string) (answer, *http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url.String(), nil)
	if err != nil {
		return answer{}, nil, err
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if ranged {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", off))
		if limit >= 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, limit-1))
		}
		if validator != "" {
			req.Header.Set("If-Range", validator)
		}
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return answer{}, nil, err
	}
	ans, err := readAnswer(resp, off, ranged)
	if err != nil {
		resp.Body.Close()
		return answer{}, nil, &checked{err}
	}
	return ans, resp, nil
}

// checked marks an error as the verdict of readAnswer, which is final unless
// it is a fault.
type checked struct{ error }

func (e *checked) Unwrap() error { return e.error }

// explain says what an error of net/http means, and makes it a fault unless
// trying again is useless.
func (c *conn) explain(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return &fault{err: fmt.Errorf("%w (%v)", errStalled, c.opts.IdleTimeout)}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var verdict *checked
	if errors.As(err, &verdict) {
		return verdict.error
	}
	err = withoutURL(err)
	if errors.Is(err, errRedirect) {
		return err
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") { // net/http has no value for it
		return fmt.Errorf("%w: is the address meant to begin with http://?", err)
	}
	err, final := explainTLS(err, c.opts.Now())
	if final {
		return err
	}
	return &fault{err: err}
}

// body is the rest of a response. It gives up by the stall rule.
type body struct {
	conn   *conn
	ctx    context.Context // of this request alone: cancelled when it stalls
	cancel context.CancelCauseFunc
	timer  *time.Timer
	rc     io.ReadCloser

	limit    int64         // the end that was asked for, of a range that has one; else 0
	pos, end int64         // the next byte's offset in the file; end is -1 when unknown
	waited   time.Duration // in Read, since the quota was last met
	got      int64         // bytes since then
}

// Read returns io.EOF at the end that the server promised and nowhere else: an
// early end is a *fault, and what comes after the promised end is not read.
func (b *body) Read(p []byte) (int, error) {
	if b.pos > b.conn.opts.MaxSize {
		return 0, fmt.Errorf("the server has sent %d bytes and does not end: no more are accepted", b.pos)
	}
	if b.end >= 0 {
		p = p[:min(int64(len(p)), b.end-b.pos)]
		if len(p) == 0 {
			return 0, io.EOF
		}
	}
	b.timer.Reset(b.conn.opts.IdleTimeout - b.waited)
	start := time.Now()
	n, err := b.rc.Read(p)
	b.timer.Stop()
	b.waited += time.Since(start)
	b.pos += int64(n)
	b.got += int64(n)
	if b.got >= b.conn.opts.quota() {
		b.waited, b.got = 0, 0
	}
	switch {
	case n > 0 || err == nil:
		return n, nil // an error comes again with the next Read
	case err == io.EOF && b.end < 0:
		return 0, io.EOF
	case err == io.EOF:
		return 0, &fault{err: fmt.Errorf("the connection ended at byte %d of %d", b.pos, b.end)}
	}
	return 0, b.conn.explain(b.ctx, err)
}

func (b *body) Close() error {
	b.timer.Stop()
	var err error
	if b.rc != nil {
		err = b.rc.Close()
	}
	b.cancel(context.Canceled)
	return err
}
