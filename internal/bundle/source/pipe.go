package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// pipe is a bundle that can be read only once and only forwards.
type pipe struct {
	r       io.Reader
	name    string
	closer  io.Closer // nil when the reader is the caller's
	opened  bool
	fetched atomic.Int64
}

func newPipe(r io.Reader, name string, c io.Closer) *pipe {
	return &pipe{r: r, name: name, closer: c}
}

func (s *pipe) Open(ctx context.Context, off int64) (Stream, error) {
	if s.opened {
		return nil, fmt.Errorf("reading %s: it can be read only once: give the bundle as a file or an address", s.name)
	}
	s.opened = true
	st := &pipeStream{ctx: ctx, src: s}
	if err := st.Discard(off); err != nil {
		return nil, err
	}
	return st, nil
}

func (s *pipe) Size() int64      { return -1 }
func (s *pipe) Rewindable() bool { return false }
func (s *pipe) Fetched() int64   { return s.fetched.Load() }
func (s *pipe) Name() string     { return s.name }

func (s *pipe) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

type pipeStream struct {
	ctx context.Context // of the stream; looked at between reads, a blocked one ends with the process
	src *pipe
}

func (s *pipeStream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.src.r.Read(p)
	s.src.fetched.Add(int64(n))
	return n, err
}

func (s *pipeStream) Discard(n int64) error {
	if n < 0 {
		return fmt.Errorf("internal error: passing over %d bytes of %s", n, s.src.name)
	}
	_, err := io.CopyN(io.Discard, s, n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.src.name, err)
	}
	return nil
}

func (s *pipeStream) Close() error { return nil }
