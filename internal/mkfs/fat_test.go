package mkfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func espFiles() []File {
	files := []File{
		{Path: "/EFI/abupdate/grubx64.efi", Data: random(700_001, 1)},
		{Path: "/EFI/BOOT/BOOTX64.EFI", Data: random(700_001, 1)},
		{Path: "/EFI/empty"},
		{Path: "/zeros.bin", Data: []byte("z"), Size: 10_000},
	}
	for i := range 100 { // more than one cluster of directory entries
		files = append(files, File{Path: fmt.Sprintf("/many/f%d.x", i), Data: random(i, uint64(i))})
	}
	return files
}

func TestFATJudgedByDosfstoolsAndMtools(t *testing.T) {
	fsck, mcopy, mdir := tool(t, "fsck.fat", "dosfstools"), tool(t, "mcopy", "mtools"), tool(t, "mdir", "mtools")
	for _, tc := range []struct {
		size int64
		kind string
	}{
		{8 * mib, "FAT16"},
		{33 * mib, "FAT16"},
		{40*mib - 512, "FAT16"},
		{40 * mib, "FAT32"},
		{64 * mib, "FAT32"},
		{64*mib + 512, "FAT32"},
		{300 * mib, "FAT32"},
	} {
		t.Run(fmt.Sprint(tc.size), func(t *testing.T) {
			f := dirty(t, tc.size)
			if err := FAT(f, tc.size, 0xAB12CD34, "ABESP", espFiles()); err != nil {
				t.Fatal(err)
			}
			judge(t, fsck, "-n", "-v", f.Name())
			boot := make([]byte, sector)
			if _, err := f.ReadAt(boot, 0); err != nil || !bytes.Contains(boot, []byte(tc.kind)) {
				t.Errorf("not %s (%v)", tc.kind, err)
			}
			for _, file := range espFiles() {
				out := filepath.Join(t.TempDir(), "out")
				judge(t, mcopy, "-i", f.Name(), "::"+file.Path, out)
				want := make([]byte, file.size())
				copy(want, file.Data)
				if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, want %d (%v)", file.Path, len(got), len(want), err)
				}
			}
			list := judge(t, mdir, "-b", "-/", "-i", f.Name())
			for _, name := range []string{"::/EFI/abupdate/grubx64.efi", "::/EFI/BOOT/BOOTX64.EFI"} {
				if !strings.Contains(list, name+"\n") {
					t.Errorf("%s is not listed in this case:\n%s", name, list)
				}
			}
			if label := judge(t, mdir, "-i", f.Name()); !strings.Contains(label, "ABESP") || !strings.Contains(label, "AB12-CD34") {
				t.Errorf("label or serial is missing:\n%s", label)
			}
		})
	}
}

func TestFATRefusals(t *testing.T) {
	long := strings.Repeat("A", 12)
	for name, tc := range map[string]struct {
		size  int64
		label string
		files []File
	}{
		"too small":         {mib, "X", nil},
		"negative":          {-1, "X", nil},
		"beyond 32 bits":    {3 << 40, "X", nil},
		"no label":          {64 * mib, "", nil},
		"long label":        {64 * mib, long, nil},
		"long base":         {64 * mib, "X", []File{{Path: "/ninechars.x"}}},
		"long extension":    {64 * mib, "X", []File{{Path: "/a.html"}}},
		"two dots":          {64 * mib, "X", []File{{Path: "/a.b.c"}}},
		"dot at the end":    {64 * mib, "X", []File{{Path: "/a."}}},
		"mixed case":        {64 * mib, "X", []File{{Path: "/Grub.cfg"}}},
		"blank":             {64 * mib, "X", []File{{Path: "/a b"}}},
		"bad directory":     {64 * mib, "X", []File{{Path: "/a+b/c"}}},
		"does not fit":      {64 * mib, "X", []File{{Path: "/a", Size: 64 * mib}}},
		"more than 4 GiB":   {64 << 30, "X", []File{{Path: "/a", Size: 1 << 32}}},
		"full root (FAT16)": {16 * mib, "X", manyFiles(512)},
	} {
		t.Run(name, func(t *testing.T) {
			w := &writes{}
			err := FAT(w, tc.size, 1, tc.label, tc.files)
			if err == nil || w.n != 0 {
				t.Errorf("%v after %d writes", err, w.n)
			}
			if name == "does not fit" && !errors.Is(err, ErrNoSpace) {
				t.Errorf("%v is not ErrNoSpace", err)
			}
		})
	}
}
