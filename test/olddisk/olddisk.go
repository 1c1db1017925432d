// Package olddisk makes disks of devices with a single system, as
// installers and cloud images divide them, without root: tables by sfdisk,
// file systems by mkfs, LVM from the fixtures of package partition.
package olddisk

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const mib = int64(1) << 20

// Disk is a disk image to be made.
type Disk struct {
	Size  int64  // MiB
	Table string // sfdisk's script; empty: none
	Parts []Part
	// GRUB: boot code and a core.img of GRUB's shape at sector Core.
	GRUB bool
	Core int64
}

// Part is what to put at a place of the disk; sizes and places in MiB.
type Part struct {
	At, Size int64
	// Make is a mkfs with its options; it is given a file of that size.
	// "lvm NAME": a fixture. "zero": zeros, with Bytes at Offset.
	Make   string
	Bytes  string
	Offset int64
}

// Layouts are disks of the five layouts. L1 and L4 have the LVM of the
// fixture el7-0: swap 2 GiB, home 6 GiB, root 10 GiB, 1020 MiB free.
var Layouts = map[string]Disk{
	"L1": {
		Size: 20480, GRUB: true, Core: 1,
		Table: "label: dos\nlabel-id: 0x000c0001\nstart=2048,size=1023MiB,type=83,bootable\nsize=19456MiB,type=8e\n",
		Parts: append([]Part{{At: 1, Size: 1023, Make: "mkfs.xfs -m uuid=10000000-0000-4000-8000-000000000001"}, {At: 1024, Size: 1, Make: "lvm el7-0"}}, el7(1024)...),
	},
	"L2": {
		Size: 12288, GRUB: true, Core: 1,
		Table: "label: dos\nlabel-id: 0x000c0002\nstart=2048,size=512MiB,type=83,bootable\nsize=1024MiB,type=82\nsize=10751MiB,type=83\n",
		Parts: []Part{
			{At: 1, Size: 512, Make: "mkfs.ext4 -b 4096 -M /boot"},
			{At: 513, Size: 1024, Make: "zero", Bytes: "SWAPSPACE2", Offset: 4086},
			{At: 1537, Size: 10751, Make: "mkfs.xfs -L root"},
		},
	},
	"L3": {
		Size: 8192, GRUB: true, Core: 1,
		Table: "label: dos\nlabel-id: 0x000c0003\nstart=2048,type=83,bootable\n",
		Parts: []Part{{At: 1, Size: 8191, Make: "mkfs.ext4 -b 4096 -M /"}},
	},
	"L4": {
		Size:  20506,
		Table: "label: gpt\nlabel-id: 00000000-0000-4000-8000-0000000000c4\nstart=2048,size=512MiB,type=U,name=\"EFI System Partition\"\nsize=512MiB,type=L\nsize=19456MiB,type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n",
		Parts: append([]Part{
			{At: 1, Size: 512, Make: "mkfs.fat -F 32"}, {At: 513, Size: 512, Make: "mkfs.xfs"}, {At: 1025, Size: 1, Make: "lvm el7-0"},
		}, el7(1025)...),
	},
	"L5": {
		Size: 10240, GRUB: true, Core: 2048,
		Table: "label: gpt\nlabel-id: 00000000-0000-4000-8000-0000000000c5\nstart=2048,size=1MiB,type=21686148-6449-6E6F-744E-656564454649\nsize=200MiB,type=U,name=\"EFI System Partition\"\nsize=1000MiB,type=BC13C2FF-59E6-4262-A352-B275FD6F7172,name=boot\nsize=9037MiB,type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709,name=root\n",
		Parts: []Part{
			{At: 2, Size: 200, Make: "mkfs.fat -F 16"}, {At: 202, Size: 1000, Make: "mkfs.xfs"}, {At: 1202, Size: 9037, Make: "mkfs.xfs"},
		},
	},
}

// el7 are the contents of the logical volumes of the fixture el7-0 on a
// partition that begins at a MiB: extents of 4 MiB, from 1 MiB on.
func el7(at int64) []Part {
	return []Part{
		{At: at + 1, Size: 2048, Make: "zero", Bytes: "SWAPSPACE2", Offset: 4086},
		{At: at + 1 + 512*4, Size: 6144, Make: "mkfs.xfs"},
		{At: at + 1 + 2048*4, Size: 10240, Make: "mkfs.xfs"},
	}
}

// Make writes a disk to a file of the test's and returns its path.
func (d Disk) Make(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "disk.img")
	sparse(tb, path, d.Size*mib)
	if d.Table != "" {
		run(tb, d.Table, "sfdisk", "fdisk", "-q", path)
	}
	img, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer img.Close()
	for _, p := range d.Parts {
		p.put(tb, img)
	}
	if d.GRUB {
		putGRUB(tb, img, d.Core)
	}
	return path
}

func sparse(tb testing.TB, path string, size int64) {
	tb.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// debian names the packages of the programs.
var debian = map[string]string{"mkfs.xfs": "xfsprogs", "mkfs.ext4": "e2fsprogs", "mkfs.ext3": "e2fsprogs", "mkfs.fat": "dosfstools", "mkfs.btrfs": "btrfs-progs"}

func (p Part) put(tb testing.TB, img *os.File) {
	tb.Helper()
	words := strings.Fields(p.Make)
	switch words[0] {
	case "zero":
	case "lvm":
		p.write(tb, img, fixture(tb, words[1]), 0)
	default:
		fs := filepath.Join(tb.TempDir(), "fs")
		sparse(tb, fs, p.Size*mib)
		args := append(words[1:], fs)
		if words[0] != "mkfs.fat" {
			args = append([]string{"-q"}, args...)
		}
		run(tb, "", words[0], debian[words[0]], args...)
		f, err := os.Open(fs)
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		p.copySparse(tb, img, f)
	}
	if p.Bytes != "" {
		p.write(tb, img, []byte(p.Bytes), p.Offset)
	}
}

func (p Part) write(tb testing.TB, img *os.File, b []byte, off int64) {
	tb.Helper()
	if _, err := img.WriteAt(b, p.At*mib+off); err != nil {
		tb.Fatal(err)
	}
}

// copySparse copies what is no hole.
func (p Part) copySparse(tb testing.TB, img, f *os.File) {
	tb.Helper()
	for at := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return
		}
		if err != nil {
			tb.Fatal(err)
		}
		if at, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE); err != nil {
			tb.Fatal(err)
		}
		w := io.NewOffsetWriter(img, p.At*mib+from)
		if _, err := io.Copy(w, io.NewSectionReader(f, from, at-from)); err != nil {
			tb.Fatal(err)
		}
	}
}

// fixture reads one of package partition's LVM fixtures.
func fixture(tb testing.TB, name string) []byte {
	tb.Helper()
	_, here, _, _ := runtime.Caller(0)
	f, err := os.Open(filepath.Join(filepath.Dir(here), "../../internal/partition/testdata/lvm", name+".gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// putGRUB writes what GRUB's installer leaves: boot.img's words and pointer,
// and the block list of a core.img of 62 sectors.
func putGRUB(tb testing.TB, img *os.File, core int64) {
	tb.Helper()
	put := func(off int64, b ...byte) {
		if _, err := img.WriteAt(b, off); err != nil {
			tb.Fatal(err)
		}
	}
	put(0x180, []byte("GRUB \x00Geom\x00")...)
	le := func(n int64) []byte {
		var b []byte
		for i := range 8 {
			b = append(b, byte(n>>(8*i)))
		}
		return b
	}
	put(0x5C, le(core)...)
	put(core*512+0x1F4, le(core+1)...)
	put(core*512+0x1FC, 61, 0, 0x20, 0x08)
}

func run(tb testing.TB, stdin, name, pkg string, args ...string) {
	tb.Helper()
	program := ""
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil && program == "" {
			program = p
		}
	}
	if program == "" {
		tb.Fatalf("%s is missing: apt-get install %s", name, pkg)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", fmt.Sprint(cmd.Args), err, out)
	}
}
