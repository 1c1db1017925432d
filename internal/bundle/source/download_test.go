package source_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// parts lists what lies beside dest.
func parts(t *testing.T, dest string) []string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(filepath.Dir(dest), ".*.part"))
	must(t, err)
	return m
}

func TestDownload(t *testing.T) {
	data := content(300<<10, 1)
	srv := newServer(t, data)
	dest := filepath.Join(t.TempDir(), "b.abu")
	must(t, os.WriteFile(dest, []byte("an older one"), 0o600))
	o := fast()
	var done, size int64
	o.Progress = func(d, s int64) { done, size = d, s }
	must(t, source.Download(t.Context(), srv.URL+"/x?token=secret", dest, o))
	same(t, readFile(t, dest), data)
	if len(parts(t, dest)) != 0 {
		t.Errorf("left %v", parts(t, dest))
	}
	if done != int64(len(data)) || size != done {
		t.Errorf("progress %d of %d", done, size)
	}
	st, err := os.Stat(dest)
	must(t, err)
	if st.Mode() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
}

func TestDownloadResumesWhereTheConnectionBroke(t *testing.T) {
	data := content(500<<10, 1)
	srv := newServer(t, data)
	srv.cut = 60 << 10
	dest := filepath.Join(t.TempDir(), "b.abu")
	must(t, source.Download(t.Context(), srv.URL, dest, fast()))
	same(t, readFile(t, dest), data)
	// Every byte once, and the probe's one.
	if n := srv.sent.Load(); n > int64(len(data))+1 {
		t.Errorf("server sent %d bytes of %d", n, len(data))
	}
}

// interrupt leaves the first half of srv's file in a partial file.
func interrupt(t *testing.T, srv *server, dest string) {
	t.Helper()
	srv.cut = 100 << 10
	o := fast()
	o.Retries = -1
	wantDownloadError(t, source.Download(t.Context(), srv.URL, dest, o))
	if _, err := os.Stat(dest); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an incomplete file has the final name: %v", err)
	}
	if len(parts(t, dest)) != 1 {
		t.Fatalf("parts: %v", parts(t, dest))
	}
	srv.cut = 0
	srv.sent.Store(0)
}

func TestDownloadResumesAfterARestart(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	dest := filepath.Join(t.TempDir(), "b.abu")
	interrupt(t, srv, dest)
	must(t, source.Download(t.Context(), srv.URL, dest, fast()))
	same(t, readFile(t, dest), data)
	if n := srv.sent.Load(); n > 101<<10 {
		t.Errorf("server sent %d bytes again", n)
	}
}

func TestDownloadFinishesACompletePart(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	dest := filepath.Join(t.TempDir(), "b.abu")
	interrupt(t, srv, dest)
	must(t, os.WriteFile(parts(t, dest)[0], data, 0o600)) // cut just before the rename
	must(t, source.Download(t.Context(), srv.URL, dest, fast()))
	same(t, readFile(t, dest), data)
	if n := srv.sent.Load(); n > 1 {
		t.Errorf("server sent %d bytes", n)
	}
}

func TestDownloadWithoutRanges(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	srv.noRanges = true
	dest := filepath.Join(t.TempDir(), "b.abu")
	interrupt(t, srv, dest)
	must(t, source.Download(t.Context(), srv.URL, dest, fast()))
	same(t, readFile(t, dest), data)
}

func TestDownloadWithoutRangesGivesUpWhenNothingNewComes(t *testing.T) {
	srv := newServer(t, content(200<<10, 1))
	srv.noRanges, srv.cut = true, 100<<10
	err := source.Download(t.Context(), srv.URL, filepath.Join(t.TempDir(), "b.abu"), fast())
	wantDownloadError(t, err, "in a row")
	if n := srv.requests.Load(); n > 7 {
		t.Errorf("%d requests", n)
	}
}

func TestAttack_TransportDownloadChangedBetweenRuns(t *testing.T) {
	for name, change := range map[string]func(*server){
		"new ETag":    func(s *server) { s.swap(content(200<<10, 2), `"v2"`) },
		"new size":    func(s *server) { s.swap(content(250<<10, 2), `"v2"`) },
		"shorter":     func(s *server) { s.swap(content(50<<10, 2), `"v2"`) },
		"part's size": func(s *server) { s.swap(content(100<<10, 2), `"v2"`) },
		"no ETag":     func(s *server) { s.swap(content(200<<10, 2), "") },
		"no ranges":   func(s *server) { s.swap(content(200<<10, 2), `"v2"`); s.noRanges = true },
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, content(200<<10, 1))
			dest := filepath.Join(t.TempDir(), "b.abu")
			interrupt(t, srv, dest)
			change(srv)
			must(t, source.Download(t.Context(), srv.URL, dest, fast()))
			same(t, readFile(t, dest), srv.data)
			if len(parts(t, dest)) != 0 {
				t.Errorf("left %v", parts(t, dest))
			}
		})
	}
}

// The server changes the file right after telling which one it has.
func TestAttack_TransportDownloadChangedMeanwhile(t *testing.T) {
	for name, ignoreIfRange := range map[string]bool{"proper server": false, "server ignores If-Range": true} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, content(200<<10, 1))
			dest := filepath.Join(t.TempDir(), "b.abu")
			interrupt(t, srv, dest)
			probe := int(srv.requests.Load()) + 1
			srv.spoil = func(w http.ResponseWriter, r *http.Request, n int) bool {
				if n != probe+1 {
					return false
				}
				srv.swap(content(200<<10, 2), `"v2"`)
				if ignoreIfRange {
					r.Header.Del("If-Range")
				}
				srv.serve(w, r)
				return true
			}
			err := source.Download(t.Context(), srv.URL, dest, fast())
			wantDownloadError(t, err, "changed")
			if _, err := os.Stat(dest); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal("a mixed file has the final name")
			}
			srv.spoil = nil
			must(t, source.Download(t.Context(), srv.URL, dest, fast()))
			same(t, readFile(t, dest), srv.data)
		})
	}
}

func TestAttack_TransportDownloadUnknownLength(t *testing.T) {
	srv := newServer(t, nil)
	srv.spoil = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.(http.Flusher).Flush()
		w.Write(content(1000, 1))
		return true
	}
	err := source.Download(t.Context(), srv.URL, filepath.Join(t.TempDir(), "b.abu"), fast())
	wantDownloadError(t, err, "how long the file is")
}

func TestAttack_TransportDownloadStatus(t *testing.T) {
	for _, code := range []int{404, 410, 416, 429, 500} {
		srv := newServer(t, nil)
		srv.spoil = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			w.WriteHeader(code)
			return true
		}
		wantDownloadError(t, source.Download(t.Context(), srv.URL, filepath.Join(t.TempDir(), "b.abu"), fast()))
	}
}

func TestAttack_TransportDownloadStalls(t *testing.T) {
	srv := newServer(t, content(200<<10, 1))
	srv.spoil = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			return false
		}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", "204800")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	o := fast()
	o.Retries, o.IdleTimeout = 1, 40*time.Millisecond
	err := source.Download(soon(t), srv.URL, filepath.Join(t.TempDir(), "b.abu"), o)
	wantDownloadError(t, err, "too little or nothing")
}

// A link that lies where the partial file goes must not be followed.
func TestAttack_TransportDownloadPlantedLink(t *testing.T) {
	srv := newServer(t, content(200<<10, 1))
	dir := t.TempDir()
	dest := filepath.Join(dir, "b.abu")
	interrupt(t, srv, dest)
	victim := filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte("precious"), 0o600))
	part := parts(t, dest)[0]
	must(t, os.Remove(part))
	must(t, os.Symlink(victim, part))
	if err := source.Download(t.Context(), srv.URL, dest, fast()); err == nil {
		t.Error("downloaded through a link")
	}
	if got := readFile(t, victim); string(got) != "precious" {
		t.Errorf("victim is now %q", got[:8])
	}
}

func TestAttack_TransportDownloadDirectoryOfOthers(t *testing.T) {
	srv := newServer(t, content(1000, 1))
	for name, spoil := range map[string]func(dir string) error{
		"writable by all":   func(dir string) error { return os.Chmod(dir, 0o1777) },
		"writable by group": func(dir string) error { return os.Chmod(dir, 0o770) },
		"another owner": func(dir string) error {
			if os.Geteuid() != 0 {
				return os.Chmod(dir, 0o777) // only root can give it away
			}
			return os.Chown(dir, 1234, 1234)
		},
	} {
		dir := t.TempDir()
		must(t, spoil(dir))
		err := source.Download(t.Context(), srv.URL, filepath.Join(dir, "b.abu"), fast())
		if err == nil || errors.Is(err, source.ErrDownload) || srv.requests.Load() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A full or missing directory is not the server's fault.
func TestDownloadLocalErrorIsNotErrDownload(t *testing.T) {
	srv := newServer(t, content(1000, 1))
	err := source.Download(t.Context(), srv.URL, filepath.Join(t.TempDir(), "none", "b.abu"), fast())
	if err == nil || errors.Is(err, source.ErrDownload) {
		t.Errorf("got %v", err)
	}
	dest := filepath.Join(t.TempDir(), strings.Repeat("x", 250)) // its partial file's name is too long
	if err := source.Download(t.Context(), srv.URL, dest, fast()); err == nil || errors.Is(err, source.ErrDownload) {
		t.Errorf("name too long: %v", err)
	}
}
