//go:build root

package partition

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mounted makes a file system behind a head of 1 MiB of a disk image, mounts
// it, and returns the image and the mount point.
func mounted(t *testing.T, mkfs ...string) (img, dir string, size int64) {
	t.Helper()
	size = 400 * mib
	img, dir = filepath.Join(t.TempDir(), "disk"), t.TempDir()
	fs := filepath.Join(t.TempDir(), "fs")
	for _, path := range []string{img, fs} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(fs, size); err != nil {
		t.Fatal(err)
	}
	judge(t, "", tool(t, mkfs[0], map[string]string{"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs"}[mkfs[0]]), append(mkfs[1:], fs)...)
	judge(t, "", tool(t, "dd", "coreutils"), "if="+fs, "of="+img, "bs=1M", "seek=1", "conv=sparse")
	if err := os.Truncate(img, size+1*mib); err != nil {
		t.Fatal(err)
	}
	node := strings.TrimSpace(judge(t, "", tool(t, "losetup", "mount"), "--show", "-f", "-o", "1048576", img))
	t.Cleanup(func() { judge(t, "", tool(t, "losetup", "mount"), "-d", node) })
	judge(t, "", tool(t, "mount", "mount"), node, dir)
	t.Cleanup(func() { judge(t, "", tool(t, "umount", "mount"), dir) })
	return img, dir, size
}

// TestFileMap: a preallocated file that was written by pwrite is found again
// byte for byte at the addresses that the map gives.
func TestFileMap(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-b", "4096"},
		"xfs":  {"mkfs.xfs", "-q"},
	} {
		t.Run(name, func(t *testing.T) {
			img, dir, size := mounted(t, mkfs...)
			f, err := os.Create(filepath.Join(dir, "carved"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			const length = 48 * mib
			if err := unix.Fallocate(int(f.Fd()), 0, 0, length); err != nil {
				t.Fatal(err)
			}
			if _, err := FileMap(f, UnwrittenRefused); err == nil || !strings.Contains(err.Error(), "UNWRITTEN") {
				t.Errorf("before it is written: %v", err)
			}
			allocated, err := FileMap(f, UnwrittenAllowed)
			if err != nil {
				t.Fatal(err)
			}
			content := make([]byte, length)
			for i, rng := 0, rand.New(rand.NewPCG(1, 2)); i < length; i += 64 {
				content[i] = byte(rng.Uint32())
			}
			if _, err := f.WriteAt(content, 0); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			written, err := FileMap(f, UnwrittenRefused)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := allocated.Stretches()[0], written.Stretches()[0]; a.Disk != b.Disk || a.Len != b.Len {
				t.Errorf("writing moved it from %+v to %+v", a, b)
			}
			disk, err := written.Through(Part{Start: 1 * mib, Size: size}.Map())
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.Open(img)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			for _, r := range disk {
				got := make([]byte, r.Len)
				if _, err := raw.ReadAt(got, r.Disk); err != nil || !bytes.Equal(got, content[r.Start:r.End()]) {
					t.Errorf("another content at %+v (%v)", r, err)
				}
			}
		})
	}
}

// TestFileMapRefusals asks for files that lie nowhere in particular.
func TestFileMapRefusals(t *testing.T) {
	_, dir, _ := mounted(t, "mkfs.ext4", "-q", "-b", "4096", "-O", "inline_data", "-I", "512")
	for name, tc := range map[string]struct {
		make func(f *os.File) error
		says string
	}{
		"a hole":   {func(f *os.File) error { return f.Truncate(1 * mib) }, "hole"},
		"in inode": {func(f *os.File) error { _, err := f.WriteString("tiny"); return err }, "DATA_INLINE"},
		"half": {func(f *os.File) error {
			_, err := f.WriteAt(make([]byte, 8192), 64<<10)
			return err
		}, "hole"},
	} {
		f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(name, " ", "-")))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := tc.make(f); err != nil {
			t.Fatal(err)
		}
		if m, err := FileMap(f, UnwrittenAllowed); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	// In 600 pieces: more than one answer of the kernel.
	f, err := os.Create(filepath.Join(dir, "pieces"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const pieces = 600
	for i := range int64(pieces) {
		if _, err := f.WriteAt(make([]byte, 4096), i*8192); err != nil {
			t.Fatal(err)
		}
	}
	extents, err := FileExtents(f)
	if err != nil || len(extents) != pieces {
		t.Errorf("%d extents of %d: %v", len(extents), pieces, err)
	}
	other, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := FileMap(other, UnwrittenAllowed); err == nil {
		t.Error("a file of /proc has a map")
	}
}
