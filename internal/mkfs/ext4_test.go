package mkfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const mib = 1 << 20

// tool returns the path of a program of an independent judge.
func tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	t.Fatalf("%s is missing: apt-get install %s", name, debianPackage)
	return ""
}

func judge(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// dirty returns a file of size bytes with old data where file systems begin
// and where the second block group does, so that a block which was only
// assumed to be zero shows.
func dirty(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fs.img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	junk := bytes.Repeat([]byte{0xA5}, mib)
	for off := int64(0); off < size; off += mib {
		if off >= 24*mib && off < 127*mib || off > 130*mib {
			continue
		}
		if _, err := f.WriteAt(junk[:min(mib, size-off)], off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// bootFiles looks like an abboot partition.
func bootFiles() []File {
	files := []File{
		{Path: "/abupdate/env0", Size: 512},
		{Path: "/abupdate/env1", Size: 512},
		{Path: "/abupdate/id-0badf00d", Data: []byte("x")},
		{Path: "/abupdate/state", Data: []byte("STATE"), Size: 3 * mib},
		{Path: "/abupdate/empty"},
		{Path: "/grub/grub.cfg", Data: random(5000, 1)},
		{Path: "/old/vmlinuz", Data: random(300_001, 2)},
	}
	for i := range 300 { // more than one directory block
		files = append(files, File{
			Path: fmt.Sprintf("/grub/i386-pc/module-with-a-long-name-%03d.mod", i), Data: random(100+i, uint64(i)),
		})
	}
	return files
}

var testUUID = [16]byte{0xab, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, 15}

func TestExt4JudgedByE2fsprogs(t *testing.T) {
	e2fsck, debugfs := tool(t, "e2fsck", "e2fsprogs"), tool(t, "debugfs", "e2fsprogs")
	for _, size := range []int64{
		5 * mib, 16 * mib, 127*mib + 4096, 128 * mib, 128*mib + 4096, 128*mib + 64*4096, 256 * mib, 300*mib + 511,
	} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			f := dirty(t, size)
			files := bootFiles()
			extents, err := Ext4(f, size, testUUID, "abboot", files)
			if err != nil {
				t.Fatal(err)
			}
			judge(t, e2fsck, "-fn", f.Name())

			var script strings.Builder
			dir := t.TempDir()
			for i, file := range files {
				fmt.Fprintf(&script, "dump %s %s/%d\n", file.Path, dir, i)
			}
			checkFiles(t, debugfs, f, script.String(), dir, files, extents)
		})
	}
}

// checkFiles compares each file as debugfs reads it, and as it lies at the
// extent that Ext4 reported, with what it should hold.
func checkFiles(t *testing.T, debugfs string, f *os.File, script, dir string, files []File, extents map[string]Extent) {
	t.Helper()
	commands := filepath.Join(dir, "commands")
	if err := os.WriteFile(commands, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	judge(t, debugfs, "-f", commands, f.Name())
	blocks := map[int64]string{}
	for i, file := range files {
		want := make([]byte, file.size())
		copy(want, file.Data)
		got, err := os.ReadFile(fmt.Sprintf("%s/%d", dir, i))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s as debugfs reads it: %d bytes, want %d, equal=false, %v", file.Path, len(got), len(want), err)
		}
		e := extents[file.Path]
		raw := make([]byte, e.Len)
		if _, err := f.ReadAt(raw, e.Off); err != nil || !bytes.Equal(raw, want) {
			t.Errorf("%s at its extent %+v is not its content (%v)", file.Path, e, err)
		}
		if e.Len > 0 {
			if other, taken := blocks[e.Off/blockSize]; taken || e.Off%blockSize != 0 {
				t.Errorf("%s shares block %d with %s", file.Path, e.Off/blockSize, other)
			}
			blocks[e.Off/blockSize] = file.Path
		}
	}
}

func TestExt4LongFiles(t *testing.T) {
	debugfs := tool(t, "debugfs", "e2fsprogs")
	// Groups 0 and 1 begin with a superblock, 2 does not: this file has to
	// go behind the one of group 1 and needs two extents.
	const size = 600 * mib
	f, err := os.Create(filepath.Join(t.TempDir(), "fs.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := []File{{Path: "/big", Data: []byte("begin"), Size: 200 * mib}, {Path: "/small", Data: []byte("s")}}
	extents, err := Ext4(f, size, testUUID, "", files)
	if err != nil {
		t.Fatal(err)
	}
	judge(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", f.Name())
	if got := extents["/big"]; got.Off != 128*mib+2*blockSize || got.Len != 200*mib {
		t.Errorf("extent of /big = %+v", got)
	}
	out := judge(t, debugfs, "-R", "dump_extents /big", f.Name())
	if strings.Contains(out, "Uninit") || strings.Count(out, "0/ 0") != 2 {
		t.Errorf("want two written extents of depth 0, have\n%s", out)
	}
	if _, err := Ext4(f, size, testUUID, "", []File{{Path: "/big", Size: 513 * mib}}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("five extents: %v", err)
	}
}

func TestExt4IsDeterministicInAnyOrder(t *testing.T) {
	sum := func(files []File) [32]byte {
		f, err := os.Create(filepath.Join(t.TempDir(), "fs.img"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := Ext4(f, 64*mib, testUUID, "abboot", files); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(data)
	}
	files := bootFiles()
	first := sum(files)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	if sum(files) != first {
		t.Error("the order of the arguments changes the image")
	}
}

func TestExt4Refusals(t *testing.T) {
	for name, tc := range map[string]struct {
		size  int64
		label string
		files []File
	}{
		"too small":       {size: 4096},
		"negative":        {size: -1},
		"too large":       {size: 17 << 30},
		"label":           {size: mib, label: "seventeen letters"},
		"relative path":   {size: mib, files: []File{{Path: "a"}}},
		"dot dot":         {size: mib, files: []File{{Path: "/../a"}}},
		"root":            {size: mib, files: []File{{Path: "/"}}},
		"twice":           {size: mib, files: []File{{Path: "/a"}, {Path: "/a"}}},
		"file as dir":     {size: mib, files: []File{{Path: "/a"}, {Path: "/a/b"}}},
		"reserved":        {size: mib, files: []File{{Path: "/lost+found/x"}}},
		"negative size":   {size: mib, files: []File{{Path: "/a", Size: -1}}},
		"name too long":   {size: mib, files: []File{{Path: "/" + strings.Repeat("n", 256)}}},
		"dir too long":    {size: mib, files: []File{{Path: "/" + strings.Repeat("n", 256) + "/x"}}},
		"does not fit":    {size: mib, files: []File{{Path: "/a", Size: mib}}},
		"too many inodes": {size: mib, files: manyFiles(5000)},
	} {
		t.Run(name, func(t *testing.T) {
			f := &writes{}
			if _, err := Ext4(f, tc.size, testUUID, tc.label, tc.files); err == nil {
				t.Error("accepted")
			}
			if f.n != 0 {
				t.Errorf("%d writes before the refusal", f.n)
			}
		})
	}
}

// writes counts writes.
type writes struct{ n int }

func (w *writes) WriteAt(p []byte, _ int64) (int, error) { w.n++; return len(p), nil }

func manyFiles(n int) []File {
	files := make([]File, n)
	for i := range files {
		files[i].Path = fmt.Sprintf("/%d", i)
	}
	return files
}
