package provision

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/mkfs"
)

// TestAbbootWithLoader: an abboot that carries core.img and large files has
// each of them at the place that it says, and core.img knows its own.
func TestAbbootWithLoader(t *testing.T) {
	const start = 37 << 20
	kernel := bytes.Repeat([]byte("vmlinuz "), 1<<17)
	a := Abboot{
		Start: start, Size: 64 << 20, Numbers: Numbers{Boot: 3, A: 4, B: 1, Data: 2},
		Grub:   bootctl.GrubParams{ID: "0123abcd", Scheme: bootctl.SchemeMSDOS, PartUUIDA: "000c0001-04", PartUUIDB: "000c0001-01", Commands: bootctl.CommandsLinux},
		Loader: fakeBoot().BIOS,
		Files: []mkfs.File{
			{Path: "/old/vmlinuz", Content: bytes.NewReader(kernel), Size: int64(len(kernel))},
			{Path: "/migrator/initramfs", Data: []byte("initramfs")},
		},
	}
	p, err := a.Place()
	must(t, err)
	path := filepath.Join(t.TempDir(), "abboot")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(a.Size))
	must(t, p.Write(f))
	judge(t, tool(t, "e2fsck", "e2fsprogs"), "-fn", path)

	read := func(name string) []byte {
		t.Helper()
		e, ok := p.Extents[name]
		if !ok || e.Off%4096 != start%4096 {
			t.Fatalf("%s at %+v", name, e)
		}
		b := make([]byte, e.Len)
		_, err := f.ReadAt(b, e.Off-start)
		must(t, err)
		out := filepath.Join(t.TempDir(), "out")
		judge(t, tool(t, "debugfs", "e2fsprogs"), "-R", "dump "+name+" "+out, path)
		same, err := os.ReadFile(out)
		must(t, err)
		if !bytes.Equal(b, same) {
			t.Errorf("%s: the file system has other bytes than its place on the disk", name)
		}
		return b
	}
	if !bytes.Equal(read("/old/vmlinuz"), kernel) || string(read("/migrator/initramfs")) != "initramfs" {
		t.Error("a file has another content")
	}
	core := read(CorePath)
	if p.CoreOff != p.Extents[CorePath].Off || le.Uint64(core[coreListStart:]) != uint64(p.CoreOff/sector+1) || !bytes.Equal(core, a.Loader.CoreImage(p.CoreOff)) {
		t.Errorf("core.img at %d is for another place", p.CoreOff)
	}
	if code := a.Loader.BootCode(p.CoreOff); le.Uint64(code[bootKernelLBA:]) != uint64(p.CoreOff/sector) || len(code) != bootCodeEnd {
		t.Error("the boot code leads elsewhere")
	}
	if config := string(read(bootctl.GrubConfigPath)); !strings.Contains(config, "msdos4") {
		t.Errorf("grub.cfg:\n%.300s", config)
	}
}
