package source

import (
	"context"
	"fmt"
	"io"
	"sort"
)

// httpStream reads a file from a server and goes on after broken connections.
//
// off is where its reader is; the open body may be behind: after a Discard, or
// when it had to begin at 0. The gap is closed by the next Read, so several
// Skips in a row cost one request at most.
type httpStream struct {
	ctx  context.Context // of the stream: io.Reader has no place for one
	src  *httpSource
	off  int64
	body *body // nil: none open
	plan []Range

	attempts attempts
	high     int64 // the highest offset that a body reached
	gained   int64 // bytes above high that the open body brought
	err      error // final: every Read fails with it from then on
}

func (s *httpStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := s.seek(); err != nil {
			return 0, err
		}
		n, err := s.readBody(p)
		s.off += int64(n)
		if n > 0 {
			return n, nil
		}
		if err := s.ended(err); err != nil {
			return 0, err
		}
	}
}

// Plan implements Planned. A body that is open and goes beyond what is wanted
// now is given up when the gap is reached.
func (s *httpStream) Plan(ranges []Range) { s.plan = ranges }

// limit is the end of the planned range that off lies in; -1 when there is
// none.
func (s *httpStream) limit() int64 {
	i := sort.Search(len(s.plan), func(i int) bool { return s.plan[i].End > s.off })
	if i < len(s.plan) && s.plan[i].Off <= s.off {
		return s.plan[i].End
	}
	return -1
}

// jump reports whether to ask anew rather than read on to off. With a plan,
// the gaps for which that does not pay are part of its ranges already.
func (s *httpStream) jump() bool {
	gap := s.off - s.body.pos
	switch {
	case gap <= 0 || !s.src.jumps():
		return false
	case len(s.plan) > 0:
		return s.off >= s.body.limit
	}
	return gap >= s.src.conn.opts.SkipThreshold
}

// Discard passes over n bytes. It only notes them: see seek.
func (s *httpStream) Discard(n int64) error {
	if size := s.src.Size(); n < 0 || size >= 0 && n > size-s.off {
		return fmt.Errorf("reading %s: passing over %d bytes at %d of %d: %w", s.src.Name(), n, s.off, size, io.ErrUnexpectedEOF)
	}
	s.off += n
	return nil
}

func (s *httpStream) Close() error {
	s.drop()
	if s.err == nil {
		s.err = fmt.Errorf("internal error: reading %s after Close", s.src.Name())
	}
	return nil
}

// seek brings an open body to off: over a short gap by reading, over a long
// one by a new request. It returns io.EOF when off is the end of the file.
func (s *httpStream) seek() error {
	for {
		if s.err != nil {
			return s.err
		}
		if s.body != nil && s.jump() {
			s.drop()
		}
		if s.body == nil {
			if s.off == s.src.Size() && s.src.Size() > 0 {
				return s.fail(io.EOF)
			}
			if err := s.connect(); err != nil {
				return err
			}
			continue
		}
		gap := s.off - s.body.pos
		if gap <= 0 {
			return nil
		}
		if err := s.discard(gap); err != nil {
			return err
		}
	}
}

// discard reads up to gap bytes of the body away. It is one step: the loop of
// seek asks again, because the body may break on the way.
func (s *httpStream) discard(gap int64) error {
	buf := make([]byte, min(gap, 64<<10))
	n, err := s.readBody(buf)
	if n > 0 {
		return nil
	}
	if err = s.ended(err); err == io.EOF {
		err = s.fail(fmt.Errorf("reading %s: %w: it ends before byte %d", s.src.Name(), io.ErrUnexpectedEOF, s.off))
	}
	return err
}

// readBody reads from the body and keeps the accounts.
func (s *httpStream) readBody(p []byte) (int, error) {
	n, err := s.src.read(s.ctx, s.body, p)
	if s.body.pos > s.high {
		s.gained += s.body.pos - max(s.high, s.body.pos-int64(n))
		s.high = s.body.pos
	}
	s.attempts.progress(s.gained)
	return n, err
}

// ended handles the error that a body ended with. nil means: go on, with a new
// body; io.EOF is the end of the file.
func (s *httpStream) ended(err error) error {
	end, gained, limit := s.body.pos, s.gained, s.body.limit
	s.drop()
	if err != io.EOF {
		return s.retry(err)
	}
	size := s.src.Size()
	if size < 0 || end >= size {
		return s.fail(io.EOF)
	}
	if limit > 0 && end >= limit {
		return nil // all that was asked for
	}
	// A 206 may bring less than asked for (RFC 9110 §15.3.7), but not crumbs
	// for ever.
	if gained < s.src.conn.opts.quota() {
		return s.retry(&fault{err: fmt.Errorf("the server sends only %d bytes of the range asked for", gained)})
	}
	return nil
}

func (s *httpStream) drop() {
	if s.body != nil {
		s.body.Close()
		s.body = nil
	}
	s.gained = 0
}

// connect opens a body, with as many attempts as the options allow.
func (s *httpStream) connect() error {
	for {
		b, err := s.src.fetch(s.ctx, s.off, s.limit())
		if err == nil {
			s.body = b
			return nil
		}
		if err := s.retry(err); err != nil {
			return err
		}
	}
}

// retry waits before the next attempt and returns nil, or the final error.
func (s *httpStream) retry(err error) error {
	if err := s.attempts.again(s.ctx, err); err != nil {
		return s.fail(err)
	}
	return nil
}

// fail keeps err as the stream's last word.
func (s *httpStream) fail(err error) error {
	s.drop()
	s.err = err
	return err
}
