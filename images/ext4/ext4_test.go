package ext4

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const uuid = "6a7e0000-0000-4000-8000-00000000000e"

// tree makes a directory whose files come into being in an order of their own.
func tree(t *testing.T, backwards bool, mtime time.Time) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 200 {
		if backwards {
			i = 199 - i
		}
		path := filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte{byte(i)}, 100*i), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Now(), mtime); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func image(t *testing.T, tree string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "rootfs.img")
	if err := Make(t.Context(), tree, out, 32<<20, uuid, "-m", "1"); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("e2fsck", "-fn", out).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, said)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMakeIsReproducible: neither when nor in which order files came to lie on
// the build host makes a difference. The clock moves on between the two.
func TestMakeIsReproducible(t *testing.T) {
	old := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	first := image(t, tree(t, false, old))
	time.Sleep(1100 * time.Millisecond)
	if !bytes.Equal(first, image(t, tree(t, true, old))) {
		t.Error("the same files gave another image")
	}
	// Files of today, of whatever second, count as the epoch's.
	now := image(t, tree(t, false, time.Now()))
	if !bytes.Equal(now, image(t, tree(t, true, time.Now().Add(time.Hour)))) {
		t.Error("files that are newer than the epoch gave another image")
	}
	if bytes.Equal(first, now) {
		t.Error("the times of files make no difference at all")
	}
}
