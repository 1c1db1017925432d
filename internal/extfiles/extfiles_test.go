package extfiles

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ext4 makes an image of a directory with mke2fs.
func ext4(t testing.TB, files map[string][]byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, "tree", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	image := filepath.Join(dir, "image")
	cmd := exec.Command("mke2fs", append(append([]string{"-q", "-t", "ext4", "-d", filepath.Join(dir, "tree")}, args...), image, "16M")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mke2fs (Debian package e2fsprogs): %v: %s", err, out)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRead: the bytes at the extents of a file are the file.
func TestRead(t *testing.T) {
	files := map[string][]byte{
		"a":            bytes.Repeat([]byte("first file\n"), 1000),
		"dir/sub/b":    bytes.Repeat([]byte("second\n"), 70000),
		"dir/empty":    nil,
		"many/last-99": []byte("in a directory of many blocks"),
	}
	for i := range 400 {
		files["many/"+strings.Repeat("x", 60)+string(rune('a'+i%26))+strings.Repeat("y", i/26)] = []byte{byte(i)}
	}
	for name, args := range map[string][]string{
		"4 KiB blocks": {"-b", "4096"},
		"1 KiB blocks": {"-b", "1024"},
		"32 bit":       {"-O", "^64bit,^metadata_csum"},
		"inline data":  {"-O", "inline_data"},
	} {
		t.Run(name, func(t *testing.T) {
			image := ext4(t, files, args...)
			extents, err := Read(bytes.NewReader(image), int64(len(image)))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]byte{}
			end := int64(0)
			for _, e := range extents {
				if e.Off < end {
					t.Errorf("%q at byte %d overlaps what ends at %d", e.Path, e.Off, end)
				}
				end = e.Off + e.Len
				got[e.Path] = append(got[e.Path], image[e.Off:end]...)
			}
			for name, data := range files {
				if name == "many/last-99" || len(data) == 1 || len(data) == 0 {
					continue // in the inode, where there is inline data
				}
				if b := got["/"+name]; !bytes.HasPrefix(b, data) || len(b)-len(data) >= 4096 {
					t.Errorf("%s: %d bytes where the file has %d", name, len(b), len(data))
				}
			}
			if name != "inline data" && got["/many/last-99"] == nil {
				t.Error("a file in a large directory was not found")
			}
			if got["(journal)"] == nil {
				t.Error("the journal was not found")
			}
		})
	}
}

func TestNotExt(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 1<<20), "short": make([]byte, 1500),
	} {
		if _, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNotExt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead changes single bytes of a small image's structures: whatever comes
// out, it ends and lies inside of the image.
func FuzzRead(f *testing.F) {
	base := ext4(f, map[string][]byte{"a": make([]byte, 9000), "d/b": []byte("b")}, "-b", "1024", "-N", "32", "-O", "^has_journal,^resize_inode")
	f.Add(uint32(1024+0x18), []byte{7})
	f.Add(uint32(1024), []byte{0xFF, 0xFF, 0xFF, 0xFF})
	f.Add(uint32(2048+8), []byte{0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		b := bytes.Clone(base[:1<<20])
		copy(b[min(int(at), len(b)):], patch)
		extents, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, e := range extents {
			if e.Off < 0 || e.Len <= 0 || e.Off+e.Len > int64(len(b)) {
				t.Fatalf("%+v is outside of the image", e)
			}
		}
	})
}
