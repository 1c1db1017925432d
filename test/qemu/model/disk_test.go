//go:build qemu

package model

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/mkfs"
)

const (
	fsStart = 1 << 20
	fsSize  = 256 << 20
)

// buildDisk makes a disk that goes through the cases once. It returns its path
// and, for each case, where on it the two copies of the boot state lie.
func buildDisk(t *testing.T, list []testCase) (string, [][2]int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(fsStart + fsSize); err != nil {
		t.Fatal(err)
	}
	boot, core := loader(t)
	files := []mkfs.File{{Path: "/one.cfg", Data: oneCase(t)}, {Path: "/all.cfg", Data: allCases(len(list))}}
	for n, c := range list {
		for i, b := range c.env {
			files = append(files, mkfs.File{Path: fmt.Sprintf("%s/env%d", dir(n), i), Data: b})
		}
		for _, sys := range bootctl.Systems {
			files = append(files, mkfs.File{Path: fmt.Sprintf("%s/args-%v", dir(n), sys), Data: argsBlock(c.valid[sys])})
			files = append(files, systemFiles(fmt.Sprintf("%s/%v", dir(n), sys), c.files[sys])...)
		}
	}
	extents, err := mkfs.Ext4(io.NewOffsetWriter(f, fsStart), fsSize, [16]byte{1}, "cases", files)
	if err != nil {
		t.Fatal(err)
	}
	places := make([][2]int64, len(list))
	for n := range list {
		for i := range places[n] {
			places[n][i] = fsStart + extents[fmt.Sprintf("%s/env%d", dir(n), i)].Off
		}
	}
	for off, b := range map[int64][]byte{0: boot, 512: core} {
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	return path, places
}

// dir is the directory of a case. GRUB reads directories from their start.
func dir(n int) string { return fmt.Sprintf("/c%d/%d", n/40, n) }

// systemFiles are a system's files. What fails to load says so by a name
// beside it: the commands that load are replaced.
func systemFiles(at string, f bootmodel.Files) []mkfs.File {
	kernel, initramfs := mkfs.File{Path: at + "/vmlinuz", Data: []byte("x")}, mkfs.File{Path: at + "/initramfs", Data: []byte("x")}
	switch f {
	case bootmodel.Missing:
		return []mkfs.File{kernel}
	case bootmodel.BadKernel:
		return []mkfs.File{kernel, initramfs, {Path: at + "/vmlinuz.bad", Data: []byte("x")}}
	case bootmodel.BadInitramfs:
		return []mkfs.File{kernel, initramfs, {Path: at + "/initramfs.bad", Data: []byte("x")}}
	case bootmodel.Loadable:
	}
	return []mkfs.File{kernel, initramfs}
}

// oneCase is grub.cfg with the ends of a session replaced, and what it does
// made a function. Once an end is reached, t_over keeps the rest from doing
// anything.
func oneCase(t *testing.T) []byte {
	t.Helper()
	b, err := bootctl.RenderGrubConfig(bootctl.GrubParams{
		ID: "4f1c2a90", Scheme: bootctl.SchemeMSDOS, BootPart: 1, APart: 2, BPart: 3,
		PartUUIDA: "1-2", PartUUIDB: "1-3", StateLBA: 8, Commands: bootctl.CommandsLinux,
	})
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	cut := func(from, to string) {
		i := strings.Index(text, from)
		j := strings.Index(text, to)
		if i < 0 || j < i {
			t.Fatalf("grub.cfg has no part from %q to %q any more", from, to)
		}
		text = text[:i] + text[j:]
	}
	swap := func(from, to string) {
		if !strings.Contains(text, from) {
			t.Fatalf("grub.cfg has no %q any more", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	cut("# The disk: the one", "# ab_load FILE")
	swap("set ab_linux=linux\n", "set ab_linux=t_linux\n")
	swap("set ab_initrd=initrd\n", "set ab_initrd=t_initrd\n")
	swap("; then boot; fi", "; then t_boot \"$1 $3 $ab_sq\"; fi")
	swap("    sleep 2\n    reboot\n", "    t_reset $1\n")
	swap("function ab_save {\n", "function ab_save {\n  if [ \"$t_over\" = \"1\" ]; then return 0; fi\n")
	swap("($ab_boot)/abupdate/", "($ab_boot)$t_dir/")
	swap("($ab_disk,$ab_part_a)/boot", "($ab_boot)$t_dir/a")
	swap("($ab_disk,$ab_part_b)/boot", "($ab_boot)$t_dir/b")
	swap("($ab_boot)/old", "($ab_boot)$t_dir/old")
	swap("($ab_boot)/migrator", "($ab_boot)$t_dir/mig")
	swap("# What follows goes by", "function t_main {\n# What follows goes by")
	head, _, ok := strings.Cut(text, "while [ \"1\" = \"1\" ]; do")
	if !ok {
		t.Fatal("grub.cfg does not end in a loop any more")
	}
	return []byte(head + "if [ \"$t_over\" != \"1\" ]; then echo \"T $t_case nothing\"; fi\n}\n")
}

const prelude = `
set ab_boot=hd0,msdos1
function t_linux {
  if [ "$t_over" = "1" -o -f "$1.bad" ]; then return 1; fi
  return 0
}
function t_initrd {
  if [ -f "$1.bad" ]; then return 1; fi
  return 0
}
function t_boot {
  set t_over=1
  echo
  echo "T $t_case $1"
}
function t_reset {
  if [ "$t_over" != "1" ]; then echo; echo "T $t_case $1 marked"; fi
  set t_over=1
}
`

func allCases(n int) []byte {
	var b strings.Builder
	b.WriteString("set pager=0\nserial --unit=0 --speed=115200\nterminal_output serial\n" + prelude)
	b.WriteString("source (hd0,msdos1)/one.cfg\n")
	for i := range n {
		fmt.Fprintf(&b, "set t_over=0; set t_case=%d; set t_dir=%s; t_main\n", i, dir(i))
	}
	b.WriteString("echo; echo T DONE\nsleep 1000\n")
	return []byte(b.String())
}

// loader returns a boot sector with a partition table, and a core that reads
// the cases.
func loader(t *testing.T) (boot, core []byte) {
	t.Helper()
	const modules = "/usr/lib/grub/i386-pc"
	boot, err := os.ReadFile(modules + "/boot.img")
	if err != nil {
		t.Fatalf("%v (apt-get install grub-pc-bin)", err)
	}
	var memdisk bytes.Buffer
	w := tar.NewWriter(&memdisk)
	script := "source (hd0,msdos1)/all.cfg\n"
	if err := w.WriteHeader(&tar.Header{Name: "boot/grub/grub.cfg", Mode: 0o644, Size: int64(len(script))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(script)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	if err := os.WriteFile(tmp+"/memdisk.tar", memdisk.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-O", "i386-pc", "-p", bootctl.CorePrefix, "-m", tmp + "/memdisk.tar", "-o", tmp + "/core.img"}, bootctl.CoreModules("i386-pc")...)
	if out, err := exec.Command("grub-mkimage", args...).CombinedOutput(); err != nil {
		t.Fatalf("grub-mkimage (apt-get install grub-common): %v: %s", err, out)
	}
	if core, err = os.ReadFile(tmp + "/core.img"); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	le.PutUint64(boot[0x5C:], 1)
	copy(boot[0x66:], []byte{0x90, 0x90})
	le.PutUint64(core[0x1F4:], 2)
	le.PutUint16(core[0x1FC:], uint16((len(core)+511)/512-1))
	le.PutUint16(core[0x1FE:], 0x820)
	clear(boot[0x1B8:0x1FE]) // boot.img has code for floppies there
	entry := boot[0x1BE:]
	entry[4] = 0x83
	le.PutUint32(entry[8:], fsStart/512)
	le.PutUint32(entry[12:], fsSize/512)
	return boot, core
}
