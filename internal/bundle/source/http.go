package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// httpSource is a bundle on a server. What the server first says about the
// file is kept, and each later answer must agree with it.
type httpSource struct {
	conn    conn
	limit   *rate.Limiter // nil: none
	fetched atomic.Int64

	mu       sync.Mutex
	known    bool // the first answer is in: id is set
	id       identity
	ranges   bool // the server says that it has ranges, or sent one
	noRanges bool // it says that it has none, or sent the whole file for one
}

func newHTTP(u *url.URL, o Options) (*httpSource, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	clock := &clock{system: o.Now}
	client, err := newClient(o, clock)
	if err != nil {
		return nil, err
	}
	return &httpSource{conn: conn{client: client, clock: clock, url: u, opts: o}, limit: o.limiter()}, nil
}

func (s *httpSource) Open(ctx context.Context, off int64) (Stream, error) {
	if off < 0 {
		return nil, fmt.Errorf("internal error: opening %s at %d", s.Name(), off)
	}
	return s.open(ctx, off, nil)
}

// OpenRanges opens a stream at the first of the ranges.
func (s *httpSource) OpenRanges(ctx context.Context, ranges []Range) (Planned, error) {
	if len(ranges) == 0 || ranges[0].Off < 0 {
		return nil, fmt.Errorf("internal error: opening %s for %d ranges", s.Name(), len(ranges))
	}
	return s.open(ctx, ranges[0].Off, ranges)
}

// rereads is how often Reread asks.
const rereads = 3

// Reread asks for the same bytes in new requests.
func (s *httpSource) Reread(ctx context.Context, off int64, n int, good func([]byte) bool) ([]byte, error) {
	b := make([]byte, n)
	for i := range rereads {
		if err := sleep(ctx, s.conn.opts.backoff(i+1)); err != nil {
			return nil, err
		}
		stream, err := s.open(ctx, off, []Range{{off, off + int64(n)}})
		if err != nil {
			return nil, err
		}
		_, err = io.ReadFull(stream, b)
		if err := errors.Join(err, stream.Close()); err != nil {
			return nil, err
		}
		if good(b) {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w: %s: bytes [%d, %d) arrived damaged %d times", ErrDownload, s.Name(), off, off+int64(n), 1+rereads)
}

func (s *httpSource) open(ctx context.Context, off int64, plan []Range) (*httpStream, error) {
	st := &httpStream{ctx: ctx, src: s, off: off, high: off, plan: plan, attempts: attempts{src: s}}
	// Connect now: a wrong address should fail here, and Size be known after.
	if err := st.seek(); err != nil {
		return nil, err
	}
	// A server whose answers tell nothing of which file they are of can be asked
	// once: a part now would leave no way to the rest.
	if off == 0 && st.limit() >= 0 && !s.provable() {
		st.drop()
		st.plan = nil
		if err := st.seek(); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// provable reports whether a further answer can be told to be of the same
// file, or there is none needed, as the first brings all of it.
func (s *httpSource) provable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id.validator() != "" || s.noRanges
}

// HasRanges reports whether a new request is sure to be answered with a range.
func (s *httpSource) HasRanges() bool { return s.jumps() }

func (s *httpSource) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		return -1
	}
	return s.id.size
}

func (s *httpSource) Rewindable() bool { return true }
func (s *httpSource) Fetched() int64   { return s.fetched.Load() }
func (s *httpSource) Name() string     { return displayURL(s.conn.url) }

func (s *httpSource) Close() error { return nil }

// fetch makes one attempt to get the file from off on, up to limit unless that
// is negative. The body may begin earlier, at 0, and end later, when the server
// has no ranges.
func (s *httpSource) fetch(ctx context.Context, off, limit int64) (*body, error) {
	s.mu.Lock()
	known, id := s.known, s.id
	// A range makes sense unless the server is known to have none, or nothing
	// would tell whether it is of the same file as before.
	ranged := (off > 0 || limit >= 0) && !s.noRanges && (!known || id.validator() != "")
	s.mu.Unlock()
	ans, b, err := s.conn.get(ctx, off, limit, ranged, id.validator())
	if errors.Is(err, errNoBytes) && known {
		return nil, fmt.Errorf("%w: %w", errChanged, err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.learn(ans, off, ranged); err != nil {
		b.Close()
		return nil, err
	}
	// A body without a length of its own ends where the file is known to end.
	if size := s.Size(); b.end < 0 && size >= 0 {
		b.end = size
	}
	if ranged && ans.partial {
		b.limit = limit
	}
	return b, nil
}

// jumps reports whether a new request is sure to begin in the middle of the
// file, so that it is worth giving an open body up for.
func (s *httpSource) jumps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ranges && !s.noRanges && s.id.validator() != ""
}

// learn keeps what the first answer says and holds later ones against it.
func (s *httpSource) learn(ans answer, off int64, ranged bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ans.id.size > s.conn.opts.MaxSize {
		return fmt.Errorf("the file has %d bytes, and more than %d are not accepted", ans.id.size, s.conn.opts.MaxSize)
	}
	whole := off > 0 && ans.start == 0
	s.ranges = s.ranges || ans.ranges == "bytes"
	s.noRanges = s.noRanges || ans.ranges == "none" || ranged && !ans.partial
	if !s.known {
		s.known, s.id = true, ans.id
		return nil
	}
	if err := s.id.sameAs(ans.id); err != nil {
		return err
	}
	// RFC 9110 §15.3.7 wants the ETag repeated in a 206. Without it a server
	// that ignores If-Range could send a part of another file.
	if ans.partial && s.id.etag != "" && ans.id.etag == "" {
		return fmt.Errorf("%w, or may have: its ETag is gone from the answer", errChanged)
	}
	if whole {
		// The whole file, not the range: a server without ranges, or one
		// whose file changed so that If-Range no longer held.
		if s.id.validator() == "" {
			return errors.New("the connection broke, and the server gives no ETag or Last-Modified to tell whether it still has the same file: start again")
		}
		if !s.id.provenBy(ans.id) {
			return fmt.Errorf("%w, or may have: its ETag or Last-Modified is gone", errChanged)
		}
	}
	return nil
}

// read reads from a body at no more than the limited rate.
func (s *httpSource) read(ctx context.Context, b *body, p []byte) (int, error) {
	if s.limit != nil {
		p = p[:min(len(p), s.limit.Burst())]
	}
	n, err := b.Read(p)
	s.fetched.Add(int64(n))
	if s.limit != nil && n > 0 {
		// Not WaitN: it fails at once when the rate cannot meet the deadline
		// of ctx, with words of its own. A wait cut short shows in the next
		// Read.
		_ = sleep(ctx, s.limit.ReserveN(time.Now(), n).Delay())
	}
	return n, err
}

// wrap makes err an ErrDownload, unless the caller gave up.
func (s *httpSource) wrap(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("reading %s: %w", s.Name(), context.Cause(ctx))
	}
	return fmt.Errorf("%w: %s: %w", ErrDownload, s.Name(), err)
}
