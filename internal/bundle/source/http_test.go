package source_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

func TestHTTPReadsInOneRequest(t *testing.T) {
	data := content(300<<10, 1)
	srv := newServer(t, data)
	src := open(t, srv.URL+"/b.abu", fast())
	if src.Size() != -1 {
		t.Errorf("size %d before the first request", src.Size())
	}
	st, err := src.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if src.Size() != int64(len(data)) {
		t.Errorf("size %d", src.Size())
	}
	got, err := io.ReadAll(st)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
	if n := srv.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	if src.Fetched() != int64(len(data)) {
		t.Errorf("fetched %d", src.Fetched())
	}
}

func TestHTTPOpensAtAnOffset(t *testing.T) {
	data := content(200<<10, 1)
	for _, noRanges := range []bool{false, true} {
		srv := newServer(t, data)
		srv.noRanges = noRanges
		src := open(t, srv.URL, fast())
		st, err := src.Open(t.Context(), 150_000)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(st)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, data[150_000:])
		if src.Size() != int64(len(data)) {
			t.Errorf("noRanges=%v: size %d", noRanges, src.Size())
		}
	}
}

func TestHTTPResumesWhereTheConnectionBroke(t *testing.T) {
	data := content(500<<10, 1)
	srv := newServer(t, data)
	srv.cut = 60 << 10 // more breaks than Retries: progress starts the count anew
	src := open(t, srv.URL, fast())
	st, err := src.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(st)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
	if src.Fetched() != int64(len(data)) {
		t.Errorf("fetched %d of %d: bytes were read twice", src.Fetched(), len(data))
	}
}

func TestHTTPResumesByDateWhenThereIsNoETag(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	srv.etag, srv.modified, srv.cut = "", time.Now().Add(-time.Hour), 60<<10
	got, err := readAll(t, srv.URL, fast())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
}

func TestHTTPWithoutRangesReadsAgainFromTheStart(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	srv.noRanges = true
	srv.spoil = func(http.ResponseWriter, *http.Request, int) bool {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		srv.cut += 50 << 10 // each connection comes a little further
		return false
	}
	srv.cut = 50 << 10
	got, err := readAll(t, srv.URL, fast())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
}

// A server that starts again from 0 each time and breaks at the same place
// brings bytes for ever, but none of them new.
func TestHTTPWithoutRangesGivesUpWhenNothingNewComes(t *testing.T) {
	srv := newServer(t, content(200<<10, 1))
	srv.noRanges, srv.cut = true, 100<<10
	_, err := readAll(t, srv.URL, fast())
	wantDownloadError(t, err, "in a row")
	if n := srv.requests.Load(); n > 6 {
		t.Errorf("%d requests", n)
	}
}

func TestHTTPRefusesToResumeWithoutValidator(t *testing.T) {
	srv := newServer(t, content(200<<10, 1))
	srv.etag, srv.cut = "", 100<<10
	_, err := readAll(t, srv.URL, fast())
	wantDownloadError(t, err, "no ETag or Last-Modified")
}

// A date in the same second as the answer does not vouch for bytes.
func TestHTTPRefusesToResumeByAFreshDate(t *testing.T) {
	srv := newServer(t, content(200<<10, 1))
	srv.etag, srv.modified, srv.cut = "", time.Now().Add(time.Minute), 100<<10
	_, err := readAll(t, srv.URL, fast())
	wantDownloadError(t, err, "no ETag or Last-Modified")
}

func TestHTTPSkipJumpsOverMuchAndReadsOverLittle(t *testing.T) {
	data := content(1<<20, 1)
	srv := newServer(t, data)
	src := open(t, srv.URL, fast())
	st, err := src.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, mustRead(t, st, 1000), data[:1000])
	// Little: the same connection.
	if err := st.Discard(1000); err != nil {
		t.Fatal(err)
	}
	same(t, mustRead(t, st, 1000), data[2000:3000])
	if n := srv.requests.Load(); n != 1 {
		t.Errorf("%d requests for a short Discard", n)
	}
	// Much, in many small pieces: one new request.
	for range 100 {
		if err := st.Discard(10_000 - 30); err != nil {
			t.Fatal(err)
		}
	}
	same(t, mustRead(t, st, 1000), data[1_000_000:1_001_000])
	if n := srv.requests.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
	if f := src.Fetched(); f > 10_000 {
		t.Errorf("fetched %d bytes for 3,000", f)
	}
	// To the very end: no request, the end.
	if err := st.Discard(int64(len(data)) - 1_001_000); err != nil {
		t.Fatal(err)
	}
	if n, err := st.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if err := st.Discard(1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("past the end: %v", err)
	}
}

func TestHTTPSkipOnAServerWithoutRangesReadsOnce(t *testing.T) {
	data := content(400<<10, 1)
	srv := newServer(t, data)
	srv.noRanges = true
	src := open(t, srv.URL, fast())
	st, err := src.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Discard(300 << 10); err != nil {
		t.Fatal(err)
	}
	same(t, mustRead(t, st, 100), data[300<<10:300<<10+100])
	if n := srv.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestHTTPSecondStreamMustSeeTheSameFile(t *testing.T) {
	srv := newServer(t, content(100<<10, 1))
	src := open(t, srv.URL, fast())
	st, err := src.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	srv.swap(content(100<<10, 2), `"v2"`)
	_, err = src.Open(t.Context(), 0)
	wantDownloadError(t, err, "changed", "ETag")
}

func TestHTTPKeepsToTheRate(t *testing.T) {
	o := fast()
	o.LimitRate = 400 << 10
	start := time.Now()
	data := content(200<<10, 1) // half a second, less the first burst of a quarter
	srv := newServer(t, data)
	got, err := readAll(t, srv.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("took only %v", d)
	}
}

// A slow reader (a slow disk) is not the server's fault.
func TestHTTPSlowReaderIsNoStall(t *testing.T) {
	data := content(300<<10, 1)
	srv := newServer(t, data)
	o := fast()
	o.IdleTimeout = 30 * time.Millisecond
	st, err := open(t, srv.URL, o).Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for range 3 {
		time.Sleep(60 * time.Millisecond)
		got = append(got, mustRead(t, st, 100<<10)...)
	}
	same(t, got, data)
	if n := srv.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestHTTPCancelledIsNotErrDownload(t *testing.T) {
	srv := newServer(t, nil)
	srv.spoil = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		<-r.Context().Done()
		return true
	}
	o := fast()
	o.IdleTimeout = 10 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := open(t, srv.URL, o).Open(ctx, 0)
	if !errors.Is(err, context.Canceled) || errors.Is(err, source.ErrDownload) {
		t.Errorf("got %v", err)
	}
}

func TestHTTPUsesTheProxyItIsGiven(t *testing.T) {
	var seen atomic.Pointer[url.URL]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.URL)
		io.WriteString(w, "through the proxy")
	}))
	defer proxy.Close()
	u, _ := url.Parse(proxy.URL)
	byFunc := fast()
	byFunc.ProxyFunc = http.ProxyURL(u)
	byURL := fast()
	byURL.Proxy = proxy.URL
	for _, o := range []source.Options{byFunc, byURL} {
		got, err := readAll(t, "http://updates.invalid/b.abu", o)
		if err != nil || string(got) != "through the proxy" {
			t.Fatalf("%q, %v", got, err)
		}
		if seen.Load().Host != "updates.invalid" {
			t.Errorf("proxy saw %v", seen.Load())
		}
	}
	byFunc.Proxy = "none"
	byFunc.Retries = -1
	_, err := readAll(t, "http://127.0.0.1:1/b.abu", byFunc)
	wantDownloadError(t, err, "refused")
}

func TestHTTPReadsNoEnvironment(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	srv := newServer(t, []byte("direct"))
	got, err := readAll(t, srv.URL, fast())
	if err != nil || string(got) != "direct" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHTTPSaysWhoItIsAndNothingElse(t *testing.T) {
	var header http.Header
	srv := newServer(t, []byte("x"))
	srv.spoil = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		header = r.Header.Clone()
		return false
	}
	o := fast()
	o.UserAgent = "abupdate/1.2.3"
	if _, err := readAll(t, srv.URL, o); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "Accept-Encoding Connection User-Agent" {
		t.Errorf("request headers: %s", got)
	}
	if header.Get("User-Agent") != "abupdate/1.2.3" || header.Get("Accept-Encoding") != "identity" {
		t.Errorf("header %v", header)
	}
}

func TestNameHidesSecrets(t *testing.T) {
	const ref = "https://user:secret@127.0.0.1:1/b.abu?token=secret#secret"
	o := fast()
	o.Retries = -1
	src := open(t, ref, o)
	if got := src.Name(); got != "https://127.0.0.1:1/b.abu?…" {
		t.Errorf("name %q", got)
	}
	_, err := src.Open(t.Context(), 0)
	wantDownloadError(t, err)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error tells the secret: %v", err)
	}
}
