package source_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

func TestFile(t *testing.T) {
	data := content(100_000, 1)
	path := filepath.Join(t.TempDir(), "b.abu")
	must(t, os.WriteFile(path, data, 0o600))
	src := open(t, path, source.Options{})
	if src.Size() != int64(len(data)) || !src.Rewindable() || src.Name() != path {
		t.Errorf("size %d, rewindable %v, name %q", src.Size(), src.Rewindable(), src.Name())
	}
	// Another file of that name changes nothing for an open source.
	must(t, os.Rename(path, path+".old"))
	must(t, os.WriteFile(path, content(10, 2), 0o600))

	st, err := src.Open(t.Context(), 10)
	must(t, err)
	same(t, mustRead(t, st, 90), data[10:100])
	must(t, st.Discard(50_000))
	rest, err := io.ReadAll(st)
	must(t, err)
	same(t, rest, data[50_100:])
	if f := src.Fetched(); f != int64(90+len(rest)) {
		t.Errorf("fetched %d", f)
	}
	for _, n := range []int64{1, -1, 1 << 62} {
		if err := st.Discard(n); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Discard(%d) at the end: %v", n, err)
		}
	}
	if _, err := src.Open(t.Context(), 100_001); err == nil {
		t.Error("opened past the end")
	}
}

func TestFileMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := source.Open(t.Context(), filepath.Join(dir, "none"), nil, source.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := source.Open(t.Context(), dir, nil, source.Options{}); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("got %v", err)
	}
}

func TestFileCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.abu")
	must(t, os.WriteFile(path, content(100, 1), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	st, err := open(t, path, source.Options{}).Open(ctx, 0)
	must(t, err)
	cancel()
	if _, err := st.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestStdin(t *testing.T) {
	data := content(100_000, 1)
	src, err := source.Open(t.Context(), "-", bytes.NewReader(data), source.Options{})
	must(t, err)
	if src.Size() != -1 || src.Rewindable() || src.Name() != "standard input" {
		t.Errorf("size %d, rewindable %v, name %q", src.Size(), src.Rewindable(), src.Name())
	}
	st, err := src.Open(t.Context(), 10)
	must(t, err)
	must(t, st.Discard(90))
	got, err := io.ReadAll(st)
	must(t, err)
	same(t, got, data[100:])
	if src.Fetched() != int64(len(data)) {
		t.Errorf("fetched %d", src.Fetched())
	}
	if err := st.Discard(1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("past the end: %v", err)
	}
	if _, err := src.Open(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "only once") {
		t.Errorf("second Open: %v", err)
	}
}

// A shell's <(command) is a path that cannot seek.
func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(path, 0o600))
	data := content(100_000, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return
		}
		defer f.Close()
		f.Write(data)
	}()
	src := open(t, path, source.Options{})
	if src.Rewindable() {
		t.Error("a FIFO is not rewindable")
	}
	st, err := src.Open(t.Context(), 0)
	must(t, err)
	must(t, st.Discard(50_000))
	got, err := io.ReadAll(st)
	must(t, err)
	same(t, got, data[50_000:])
}
