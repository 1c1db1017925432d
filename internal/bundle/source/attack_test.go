package source_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// breakFirst cuts the first response in the middle and spoils the others.
func breakFirst(srv *server, spoil func(w http.ResponseWriter, r *http.Request)) {
	srv.cut = 100 << 10
	srv.spoil = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			return false
		}
		spoil(w, r)
		return true
	}
}

func TestAttack_TransportWrongRange(t *testing.T) {
	const off, size = 100 << 10, 200 << 10
	for name, tc := range map[string]struct {
		header http.Header
		says   string
	}{
		"another start":    {http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", off+1, size-1, size)}}, "Content-Range"},
		"the start":        {http.Header{"Content-Range": {fmt.Sprintf("bytes 0-%d/%d", size-1, size)}}, "Content-Range"},
		"no Content-Range": {http.Header{}, "Content-Range"},
		"backwards":        {http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", off, off-1, size)}}, "Content-Range"},
		"past the end":     {http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", off, size, size)}}, "Content-Range"},
		"huge":             {http.Header{"Content-Range": {"bytes 102400-99999999999999999999/*"}}, "Content-Range"},
		"other unit":       {http.Header{"Content-Range": {fmt.Sprintf("items %d-%d/%d", off, size-1, size)}}, "Content-Range"},
		"other total":      {http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", off, size, size+1)}}, "size went from"},
		"lying length": {http.Header{
			"Content-Range":  {fmt.Sprintf("bytes %d-%d/%d", off, size-1, size)},
			"Content-Length": {"10"},
		}, "Content-Length of 10"},
		"several parts": {http.Header{"Content-Type": {"multipart/byteranges; boundary=x"}}, "several"},
		"no ETag": {http.Header{
			"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", off, size-1, size)},
			"Etag":          nil,
		}, "ETag is gone"},
		"encoded": {http.Header{
			"Content-Range":    {fmt.Sprintf("bytes %d-%d/%d", off, size-1, size)},
			"Content-Encoding": {"gzip"},
		}, "Content-Encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, content(size, 1))
			breakFirst(srv, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", `"v1"`)
				for k, v := range tc.header {
					w.Header()[k] = v
				}
				w.WriteHeader(http.StatusPartialContent)
				w.(http.Flusher).Flush() // chunked, where no length is set
				w.Write(content(10, 9))
			})
			got, err := readAll(t, srv.URL, fast())
			wantDownloadError(t, err, tc.says)
			same(t, got, srv.data[:off])
		})
	}
}

func TestAttack_TransportChangedFileIsNeverMixed(t *testing.T) {
	old := content(200<<10, 1)
	for name, change := range map[string]func(*server){
		"new ETag":                func(s *server) { s.swap(content(200<<10, 2), `"v2"`) },
		"new size":                func(s *server) { s.swap(content(201<<10, 2), `"v2"`) },
		"shorter":                 func(s *server) { s.swap(content(10<<10, 2), `"v2"`) },
		"new size, old ETag":      func(s *server) { s.swap(content(201<<10, 2), `"v1"`) },
		"shorter, old ETag":       func(s *server) { s.swap(content(10<<10, 2), `"v1"`) },
		"no ETag any more":        func(s *server) { s.swap(content(200<<10, 2), "") },
		"no ranges any more":      func(s *server) { s.swap(content(200<<10, 2), `"v2"`); s.noRanges = true },
		"neither ranges nor ETag": func(s *server) { s.swap(content(200<<10, 2), ""); s.noRanges = true },
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, old)
			srv.cut = 100 << 10
			srv.spoil = func(http.ResponseWriter, *http.Request, int) bool { return false }
			st, err := open(t, srv.URL, fast()).Open(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			change(srv)
			got, err := io.ReadAll(st)
			wantDownloadError(t, err, "changed")
			same(t, got, old[:len(got)])
		})
	}
}

// A server that honours Range and ignores If-Range, as small ones do.
func TestAttack_TransportServerIgnoresIfRange(t *testing.T) {
	old := content(200<<10, 1)
	srv := newServer(t, old)
	breakFirst(srv, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-Range")
		w.Header().Set("ETag", `"v2"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content(200<<10, 2)))
	})
	got, err := readAll(t, srv.URL, fast())
	wantDownloadError(t, err, "changed", `v2`)
	same(t, got, old[:len(got)])
}

func TestAttack_TransportEndlessBody(t *testing.T) {
	endless := func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		for buf := make([]byte, 64<<10); ; {
			if _, err := w.Write(buf); err != nil {
				return true
			}
		}
	}
	srv := newServer(t, nil)
	srv.spoil = endless
	o := fast()
	o.MaxSize = 1 << 20
	st, err := open(t, srv.URL, o).Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, st)
	wantDownloadError(t, err, "does not end")
	if n > 2<<20 {
		t.Errorf("read %d bytes", n)
	}
}

func TestAttack_TransportMoreThanDeclared(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	breakFirst(srv, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 100<<10, len(data)-1, len(data)))
		w.WriteHeader(http.StatusPartialContent) // chunked: no length of its own
		w.Write(data[100<<10:])
		for buf := make([]byte, 64<<10); ; {
			if _, err := w.Write(buf); err != nil {
				return
			}
		}
	})
	got, err := readAll(t, srv.URL, fast())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
}

func TestAttack_TransportTooLargeIsRefusedAtOnce(t *testing.T) {
	srv := newServer(t, content(1000, 1))
	o := fast()
	o.MaxSize = 999
	_, err := open(t, srv.URL, o).Open(t.Context(), 0)
	wantDownloadError(t, err, "1000 bytes")
}

// raw answers each connection by hand.
func raw(t *testing.T, answer func(n int, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				buf := make([]byte, 4096)
				for got := ""; !strings.Contains(got, "\r\n\r\n"); {
					k, err := c.Read(buf)
					if err != nil {
						return
					}
					got += string(buf[:k])
				}
				answer(n, c)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/b.abu"
}

// drip sends one byte at a time until the client has enough of it.
func drip(c net.Conn) {
	for {
		if _, err := c.Write([]byte{'x'}); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAttack_TransportOneByteASecond(t *testing.T) {
	o := fast()
	o.IdleTimeout, o.Retries = 60*time.Millisecond, 1
	o.MinRate = 1000
	for name, head := range map[string]string{
		"body":         "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nContent-Length: 1000000\r\n\r\n",
		"chunked body": "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\n1000000\r\n",
		"header":       "HTTP/1.1 200 OK\r\nX-Slow: ",
		"status":       "HTTP/1",
		"range": "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\n" +
			"Content-Range: bytes 1000-999999/1000000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ref := raw(t, func(_ int, c net.Conn) {
				io.WriteString(c, head)
				drip(c)
			})
			ctx := soon(t)
			off := int64(0)
			if name == "range" {
				off = 1000
			}
			st, err := open(t, ref, o).Open(ctx, off)
			if err == nil {
				_, err = io.Copy(io.Discard, st)
			}
			wantDownloadError(t, err)
		})
	}
}

func TestAttack_TransportSilence(t *testing.T) {
	o := fast()
	o.IdleTimeout, o.Retries = 40*time.Millisecond, 1
	ref := raw(t, func(_ int, c net.Conn) { io.Copy(io.Discard, c) })
	_, err := open(t, ref, o).Open(soon(t), 0)
	wantDownloadError(t, err, "too little or nothing")
}

// Ranges of one byte each are progress of a kind, but would take a year.
func TestAttack_TransportCrumbs(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	breakFirst(srv, func(w http.ResponseWriter, r *http.Request) {
		var off int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off)
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[off : off+1])
	})
	_, err := readAll(t, srv.URL, fast())
	wantDownloadError(t, err, "only 1 bytes of the range")
	if n := srv.requests.Load(); n > 6 {
		t.Errorf("%d requests", n)
	}
}

// A server may send less than the range asked for, as long as it goes on.
func TestTransportShortRangesAreFollowed(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	breakFirst(srv, func(w http.ResponseWriter, r *http.Request) {
		var off int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off)
		end := min(off+30_000, len(data))
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, end-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[off:end])
	})
	got, err := readAll(t, srv.URL, fast())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
}

func TestAttack_TransportLyingLength(t *testing.T) {
	ref := raw(t, func(_ int, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 1000\r\n\r\nshort")
	})
	got, err := readAll(t, ref, fast())
	wantDownloadError(t, err, "in a row")
	if string(got) != "short" {
		t.Errorf("got %q", got)
	}
	// Longer than it says: the rest is not read.
	ref = raw(t, func(_ int, c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort and more")
	})
	if got, err = readAll(t, ref, fast()); err != nil || string(got) != "short" {
		t.Errorf("%q, %v", got, err)
	}
	// No number at all, or two.
	for _, bad := range []string{"-5", "5x", "99999999999999999999", "5\r\nContent-Length: 6"} {
		ref = raw(t, func(_ int, c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\nshort and more", bad)
		})
		_, err := readAll(t, ref, fast())
		wantDownloadError(t, err)
	}
}

func TestAttack_TransportTruncated(t *testing.T) {
	for name, answer := range map[string]string{
		"in the chunks":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n5\r\nsh",
		"in the headers": "HTTP/1.1 200 OK\r\nContent-Le",
		"at once":        "",
		"no HTTP":        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ref := raw(t, func(_ int, c net.Conn) { io.WriteString(c, answer) })
			_, err := readAll(t, ref, fast())
			wantDownloadError(t, err)
		})
	}
}
