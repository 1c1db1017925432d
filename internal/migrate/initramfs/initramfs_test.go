package initramfs

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
)

const release = "3.10.0-1160.el7.x86_64"

// machine is the root directory of a system: its devices, and the modules of
// its kernel, compressed as different distributions do it.
func machine(t *testing.T) (root *os.Root, dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	modules := "usr/lib/modules/" + release + "/"
	write(modules+"modules.dep", `kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.zst:
kernel/drivers/md/dm-mod.ko.gz:
kernel/drivers/scsi/sd_mod.ko.xz: kernel/lib/crc-t10dif.ko.xz
kernel/lib/crc-t10dif.ko.xz:
kernel/drivers/scsi/mpt3sas/mpt3sas.ko: kernel/drivers/scsi/scsi_transport_sas.ko
kernel/drivers/scsi/scsi_transport_sas.ko:
kernel/drivers/scsi/hpsa.ko:
kernel/drivers/gpu/drm/qxl/qxl.ko:
kernel/drivers/net/tun.ko:
kernel/drivers/net/ethernet/intel/e1000/e1000.ko:
kernel/drivers/watchdog/i6300esb.ko:
weak-updates/megasr.ko:
extra/nvidia.ko:
`)
	write(modules+"modules.softdep", "# made by depmod\nsoftdep libcrc32c pre: crc32c\nsoftdep e1000 post: tun\n")
	write(modules+"modules.alias", `alias crc32c crc32c_intel
alias pci:v00001000d00000097sv*sd*bc*sc*i* mpt3sas
alias pci:v0000103Cd*sv*sd*bc01sc04i* hpsa
alias pci:v00001B36d00000100sv*sd*bc*sc*i* qxl
alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000
alias pci:v00008086d00002826sv*sd*bc01sc04i* megasr
alias pci:v000010DEd00000001sv*sd*bc03sc*i* nvidia
alias acpi*:PNP0A03/x:* hpsa
`)
	write(modules+"modules.builtin", "kernel/fs/ext4/ext4.ko\n")
	write("proc/modules", "tun 49152 0 - Live 0x0\ni6300esb 16384 0 - Live 0x0\nqxl 1 0 - Live 0x0\n")
	write("sys/devices/pci0000:00/0000:00:03.0/modalias", "pci:v00001000d00000097sv00001000sd00003090bc01sc07i00\n")
	write("sys/devices/pci0000:00/0000:00:04.0/modalias", "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00\n")
	write("sys/devices/pci0000:00/0000:00:05.0/modalias", "pci:v00001B36d00000100sv00001AF4sd00001100bc03sc00i00\n")
	write("sys/devices/pci0000:00/0000:00:06.0/modalias", "pci:v00008086d00002826sv00001AF4sd00001100bc01sc04i00\n")
	write("sys/devices/pci0000:00/0000:00:07.0/modalias", "pci:v000010DEd00000001sv00001AF4sd00001100bc03sc00i00\n")
	b, err := os.ReadFile(filepath.Join(dir, modules, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		file, _, _ := strings.Cut(line, ":")
		plain, _, _ := strings.Cut(file, ".ko")
		write(modules+plain+".ko", "\x7fELF code of "+moduleName(file)+"\n")
		for ext, program := range map[string][]string{".xz": {"xz", "--check=crc32"}, ".gz": {"gzip"}, ".zst": {"zstd", "-q", "--rm"}} {
			if filepath.Ext(file) == ext {
				cmd := exec.Command(program[0], append(program[1:], filepath.Join(dir, modules, plain+".ko"))...)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v %s (apt-get install xz-utils gzip zstd)", cmd, err, out)
				}
			}
		}
	}
	// As weak-modules of EL does it for a driver of another kernel's.
	weak := filepath.Join(dir, modules, "weak-updates/megasr.ko")
	write("usr/lib/modules/other/extra/megasr.ko", "\x7fELF code of megasr\n")
	if err := os.Remove(weak); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/lib/modules/other/extra/megasr.ko", weak); err != nil {
		t.Fatal(err)
	}
	root, err = os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func TestBuild(t *testing.T) {
	root, _ := machine(t)
	program := filepath.Join(t.TempDir(), "migrator")
	if err := os.WriteFile(program, []byte("\x7fELF the migrator"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Migrator: program, KernelRelease: release, Root: root, Need: []string{"ext4", "xfs", "dm-mod"}}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := Build(w, o); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same input gave other bytes")
	}
	files := unpack(t, first.Bytes())
	if files["init"] != "\x7fELF the migrator" {
		t.Errorf("init is %q", files["init"])
	}
	order := strings.Fields(files["modules/order"])
	for _, name := range order {
		if want := "\x7fELF code of " + name + "\n"; files["modules/"+name+".ko"] != want {
			t.Errorf("module %s is %q", name, files["modules/"+name+".ko"])
		}
	}
	slices.Sort(order)
	want := []string{
		"crc32c_intel", "crc_t10dif", "dm_mod", "e1000", "i6300esb", "libcrc32c", "megasr", "mpt3sas",
		"scsi_transport_sas", "sd_mod", "xfs",
	}
	if !slices.Equal(order, want) {
		t.Errorf("modules %v, want %v", order, want)
	}
	at := func(name string) int { return slices.Index(strings.Fields(files["modules/order"]), name) }
	for _, pair := range [][2]string{{"crc32c_intel", "libcrc32c"}, {"libcrc32c", "xfs"}, {"scsi_transport_sas", "mpt3sas"}, {"crc_t10dif", "sd_mod"}} {
		if at(pair[0]) > at(pair[1]) {
			t.Errorf("%s is loaded behind %s, which needs it", pair[0], pair[1])
		}
	}
}

// unpack reads the archive; the kernel's own rules are those of the cpio
// program, which lists it too.
func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "-t", "--quiet")
	cmd.Stdin = bytes.NewReader(plain)
	list, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v %s (apt-get install cpio)", err, list)
	}
	for _, name := range []string{"init", "dev/console", "proc", "sys"} {
		if !slices.Contains(strings.Fields(string(list)), name) {
			t.Errorf("cpio lists no %s", name)
		}
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(plain)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, r := range records {
		if r.ReaderAt != nil {
			b, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
			if err != nil {
				t.Fatal(err)
			}
			files[r.Name] = string(b)
		}
	}
	return files
}

func TestBuildRefuses(t *testing.T) {
	root, dir := machine(t)
	program := filepath.Join(t.TempDir(), "migrator")
	if err := os.WriteFile(program, []byte("\x7fELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Options{Migrator: program, KernelRelease: release, Root: root}
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"a file system that this kernel has not": {func(o *Options) { o.Need = []string{"btrfs"} }, "no module btrfs"},
		"another kernel's modules are gone":      {func(o *Options) { o.KernelRelease = "9.9" }, "reboot into an installed kernel"},
		"release with a path":                    {func(o *Options) { o.KernelRelease = "../x" }, "release"},
		"no migrator":                            {func(o *Options) { o.Migrator = filepath.Join(dir, "missing") }, "no such file"},
		"a script as migrator":                   {func(o *Options) { o.Migrator = filepath.Join(dir, "proc/modules") }, "no program"},
		"damaged module": {func(*Options) {
			file := filepath.Join(dir, "usr/lib/modules", release, "kernel/fs/xfs/xfs.ko.xz")
			if err := os.WriteFile(file, []byte("not xz"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "xfs.ko.xz"},
	} {
		o := good
		tc.change(&o)
		if err := Build(io.Discard, o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// TestMigratorIsStatic: PID 1 of an initramfs has no dynamic linker.
func TestMigratorIsStatic(t *testing.T) {
	program := filepath.Join(t.TempDir(), "migrator")
	cmd := exec.Command("go", "build", "-o", program, "github.com/abupdate/abupdate/cmd/initramfs-migrator")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it wants a dynamic linker")
		}
	}
}
