//go:build root

package mkfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestKernelMount lets the kernel read the files and add another: a file
// system that only fsck accepts is not enough. (Not every kernel that this
// runs on has vfat; FAT is left to dosfstools and mtools.)
func TestKernelMount(t *testing.T) {
	const size = 256 * mib
	f := dirty(t, size)
	files := bootFiles()
	if _, err := Ext4(f, size, testUUID, "abboot", files); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	judge(t, tool(t, "mount", "mount"), "-t", "ext4", "-o", "loop", f.Name(), dir)
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			judge(t, tool(t, "umount", "mount"), dir)
		}
	}
	defer unmount()
	for _, file := range files {
		want := make([]byte, file.size())
		copy(want, file.Data)
		if got, err := os.ReadFile(filepath.Join(dir, file.Path)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d (%v)", file.Path, len(got), len(want), err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "grub", "new.bin"), random(3*mib, 9), 0o600); err != nil {
		t.Error(err)
	}
	unmount()
	judge(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", f.Name())
}

// TestKernelMountData lets the kernel fill the file system for customers'
// data, groups that were left virgin included.
func TestKernelMountData(t *testing.T) {
	for _, size := range []int64{MinExt4Data, 600 * mib, 64 * gib} {
		f := sparse(t, size)
		makeData(t, f, size)
		dir := t.TempDir()
		judge(t, tool(t, "mount", "mount"), "-t", "ext4", "-o", "loop", f.Name(), dir)
		for i := range min(size/(4*mib), 100) / 2 {
			name := filepath.Join(dir, "d", string(rune('a'+i%26)), string(rune('a'+i/26)))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(name, random(4*mib, uint64(i)), 0o600); err != nil {
				t.Error(err)
			}
		}
		judge(t, tool(t, "umount", "mount"), dir)
		judge(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", f.Name())
	}
}
