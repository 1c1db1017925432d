package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

// fast makes every wait short enough for a test.
func fast() source.Options {
	return source.Options{
		IdleTimeout:   150 * time.Millisecond,
		MinRate:       1000, // 150 bytes in each IdleTimeout
		Retries:       3,
		RetryDelay:    time.Millisecond,
		MaxRetryDelay: 4 * time.Millisecond,
		SkipThreshold: 64 << 10,
		MaxSize:       64 << 20,
	}
}

// content is n bytes that differ from place to place and from seed to seed.
func content(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// server is a file server whose behaviour can be spoilt.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	data     []byte
	etag     string
	modified time.Time

	noRanges bool
	// cut ends each response's connection after so many bytes; 0 does not.
	cut int
	// spoil, if not nil, may answer in place of the server; n counts the
	// requests from 1 on.
	spoil    func(w http.ResponseWriter, r *http.Request, n int) (done bool)
	requests atomic.Int64
	sent     atomic.Int64
	ranges   []string
}

func newServer(t *testing.T, data []byte) *server {
	t.Helper()
	s := &server{data: data, etag: `"v1"`}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	n := int(s.requests.Add(1))
	s.mu.Lock()
	data, etag, modified, cut := s.data, s.etag, s.modified, s.cut
	s.ranges = append(s.ranges, r.Header.Get("Range"))
	s.mu.Unlock()
	if s.spoil != nil && s.spoil(w, r, n) {
		return
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	out := &counting{ResponseWriter: w, left: cut, sent: &s.sent}
	if s.noRanges {
		if !modified.IsZero() {
			w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, err := out.Write(data)
		abortOn(err)
		return
	}
	http.ServeContent(out, r, "", modified, bytes.NewReader(data))
	abortOn(out.err)
}

// swap replaces the file on the server.
func (s *server) swap(data []byte, etag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, s.etag = data, etag
}

func abortOn(err error) {
	if errors.Is(err, errCut) {
		panic(http.ErrAbortHandler)
	}
}

var errCut = errors.New("cut")

type counting struct {
	http.ResponseWriter
	left int // 0: no cut
	sent *atomic.Int64
	err  error
}

func (c *counting) Write(p []byte) (int, error) {
	cut := false
	if c.left > 0 && len(p) >= c.left {
		p, cut = p[:c.left], true
	}
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	c.left -= n
	if cut {
		if f, ok := c.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		err = errCut
		c.err = errCut
		c.left = -1
	}
	return n, err
}

func open(t *testing.T, ref string, o source.Options) source.Source {
	t.Helper()
	s, err := source.Open(t.Context(), ref, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// readAll reads everything that ref has.
func readAll(t *testing.T, ref string, o source.Options) ([]byte, error) {
	t.Helper()
	st, err := open(t, ref, o).Open(t.Context(), 0)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return io.ReadAll(st)
}

func mustRead(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// wantDownloadError checks that err is ErrDownload and says all of words.
func wantDownloadError(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, source.ErrDownload) {
		t.Fatalf("got %v, want ErrDownload", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, want %d: or their content differs", len(got), len(want))
	}
}

// soon bounds a test that must not hang.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, fmt.Errorf("test: too slow"))
	t.Cleanup(cancel)
	return ctx
}
