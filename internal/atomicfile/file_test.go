package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	put := func(text string) *File {
		t.Helper()
		f, err := Create(path, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return f
	}
	want := func(text string) {
		t.Helper()
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Fatalf("got %q, %v; want %q", b, err, text)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
			t.Fatalf("a temporary file was left: %v, %v", names, err)
		}
	}

	f := put("half")
	f.Abort()
	f.Abort()
	want("old")

	f = put("new")
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Abort()
	want("new")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != fs.FileMode(0o640) {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	if err := f.Commit(); err == nil {
		t.Fatal("a second Commit succeeded")
	}
}

func TestFileInMissingDirectory(t *testing.T) {
	if _, err := Create(filepath.Join(t.TempDir(), "no", "x"), 0o600); err == nil {
		t.Fatal("created a file in a directory that is not there")
	}
}
