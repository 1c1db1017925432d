package mkfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

const gib = 1024 * mib

// sparse returns a file of size bytes with old data in its first megabytes
// and where the second block group and the last one are.
func sparse(t testing.TB, size int64) *os.File {
	t.Helper()
	f := dirty(t, min(size, 128*mib))
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte{0x5A}, mib)
	for _, off := range []int64{128 * mib, (size - mib) / mib * mib} {
		if off >= 0 && off+mib <= size {
			if _, err := f.WriteAt(junk, off); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

// counted counts the bytes that are written through it.
type counted struct {
	*os.File
	bytes int64
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.bytes += int64(len(p))
	return c.File.WriteAt(p, off)
}

func (c *counted) zero(off, length int64) error {
	_, err := io.Copy(io.NewOffsetWriter(c, off), io.LimitReader(zeros{}, length))
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func makeData(t testing.TB, f *os.File, size int64) int64 {
	t.Helper()
	c := &counted{File: f}
	if err := Ext4Data(c, c.zero, f.Sync, size, testUUID, "data"); err != nil {
		t.Fatal(err)
	}
	return c.bytes
}

func TestExt4DataJudgedByE2fsprogs(t *testing.T) {
	e2fsck, dumpe2fs := tool(t, "e2fsck", "e2fsprogs"), tool(t, "dumpe2fs", "e2fsprogs")
	for _, size := range []int64{
		MinExt4Data, 17*mib + 511, 100 * mib, 128 * mib, 128*mib + 64*4096, 131 * mib, 300 * mib, gib, 9*gib + 5*mib, 100 * gib, 2048 * gib,
	} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			f := sparse(t, size)
			if written := makeData(t, f, size); written > 100*mib {
				t.Errorf("%d bytes were written", written)
			}
			judge(t, e2fsck, "-fn", f.Name())
			about := judge(t, dumpe2fs, "-h", f.Name())
			for _, want := range []string{"has_journal", "Filesystem volume name:   data", "Journal inode:            8"} {
				if !strings.Contains(about, want) {
					t.Errorf("dumpe2fs does not say %q:\n%s", want, about)
				}
			}
		})
	}
}

// TestExt4DataFills writes files with another program until it is full, which
// uses groups that Ext4Data left virgin.
func TestExt4DataFills(t *testing.T) {
	f := sparse(t, 300*mib)
	makeData(t, f, 300*mib)
	content := t.TempDir() + "/content"
	if err := os.WriteFile(content, random(20*mib, 7), 0o600); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for i := range 10 {
		fmt.Fprintf(&script, "write %s file%d\n", content, i)
	}
	name := t.TempDir() + "/script"
	if err := os.WriteFile(name, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	judge(t, tool(t, "debugfs", "e2fsprogs"), "-w", "-f", name, f.Name())
	judge(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", f.Name())
}

func TestExt4DataRefusals(t *testing.T) {
	f := sparse(t, 32*mib)
	c := &counted{File: f}
	if err := Ext4Data(c, c.zero, f.Sync, MinExt4Data-1, testUUID, "data"); err == nil || c.bytes > 0 {
		t.Errorf("too small: %v", err)
	}
	if err := Ext4Data(c, c.zero, f.Sync, 32*mib, testUUID, "longer than sixteen"); err == nil || c.bytes > 0 {
		t.Errorf("long label: %v", err)
	}
}

// TestExt4DataFaults: an error of any operation comes back.
func TestExt4DataFaults(t *testing.T) {
	fault := errors.New("fault")
	for n := 1; ; n++ {
		f := &faulty{at: n, err: fault}
		err := Ext4Data(f, f.zero, f.sync, gib, testUUID, "data")
		if f.n < n {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, fault) {
			t.Fatalf("operation %d failed: %v", n, err)
		}
	}
}

// faulty is a device whose operation number at fails.
type faulty struct {
	n, at int
	err   error
}

func (f *faulty) op() error {
	if f.n++; f.n == f.at {
		return f.err
	}
	return nil
}

func (f *faulty) WriteAt(p []byte, _ int64) (int, error) { return len(p), f.op() }
func (f *faulty) zero(int64, int64) error                { return f.op() }
func (f *faulty) sync() error                            { return f.op() }
