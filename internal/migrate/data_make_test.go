package migrate

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// TestMakeData: what is around the region stays as it is.
func TestMakeData(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "disk.img")
	junk := bytes.Repeat([]byte{0xEE}, 64<<20)
	if err := os.WriteFile(path, junk, 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := blockdev.Open(path, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	r := Region{Start: 16 * mib, Size: 32 * mib}
	if err := MakeData(disk, r, [16]byte{1}); err != nil {
		t.Fatal(err)
	}
	for _, around := range []Region{{0, 16 * mib}, {48 * mib, 16 * mib}} {
		got := make([]byte, around.Size)
		if _, err := disk.ReadAt(got, around.Start); err != nil || !bytes.Equal(got, junk[:around.Size]) {
			t.Errorf("bytes [%d, %d) were changed (%v)", around.Start, around.End(), err)
		}
	}
	inside := make([]byte, r.Size)
	if _, err := disk.ReadAt(inside, r.Start); err != nil {
		t.Fatal(err)
	}
	fs := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(fs, inside, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/sbin/e2fsck", "-fn", fs).CombinedOutput(); err != nil {
		t.Errorf("e2fsck (Debian package e2fsprogs): %v\n%s", err, out)
	}
}

// TestCrashMakeData: a cut leaves the file system whole, or the one that was
// there before, or no superblock.
func TestCrashMakeData(t *testing.T) {
	t.Parallel()
	base := blockdevtest.New(32*mib, 512)
	r := Region{Start: 8 * mib, Size: 20 * mib}
	if err := MakeData(base, r, [16]byte{9}); err != nil { // an older one, of another kind
		t.Fatal(err)
	}
	base = base.Clone()
	whole := base.Clone()
	run := func(d *blockdevtest.Disk) error { return MakeData(d, r, [16]byte{1}) }
	if err := run(whole); err != nil {
		t.Fatal(err)
	}
	read := func(d *blockdevtest.Disk) []byte {
		b := make([]byte, r.Size)
		if _, err := d.ReadAt(b, r.Start); err != nil {
			t.Fatal(err)
		}
		return b
	}
	before, after := read(base), read(whole)
	const from, to = 1024, 1536 // all that a superblock says is in its first sector
	blockdevtest.Campaign{Base: base, Run: run, Check: func(c blockdevtest.Crash) error {
		got := read(c.Disk)
		super := got[from:to]
		switch {
		case bytes.Equal(got, after):
			return nil
		case c.Done:
			return errors.New("it is not whole")
		case bytes.Equal(super, after[from:to]):
			return errors.New("its superblock is there, and the rest is not")
		case bytes.Equal(super, before[from:to]) && !bytes.Equal(got, before):
			return errors.New("the old superblock is there, and not all that belongs to it")
		case !bytes.Equal(super, before[from:to]) && !bytes.Equal(super, make([]byte, to-from)):
			return errors.New("the superblock is neither old nor new")
		}
		return nil
	}}.Test(t)
}
