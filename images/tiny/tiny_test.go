package tiny

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/images/kernel"
)

// fakeKernel is good enough for everything but booting.
func fakeKernel(t *testing.T) *kernel.Kernel {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "vmlinuz-6.1")
	for _, name := range []string{image, filepath.Join(dir, "virtio.ko"), filepath.Join(dir, "softdog.ko")} {
		if err := os.WriteFile(name, []byte(filepath.Base(name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &kernel.Kernel{Release: "6.1", Image: image, Modules: dir}
}

func requireTool(t *testing.T, tool, debianPackage string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Fatalf("%v (apt-get install %s)", err, debianPackage)
	}
}

// TestBuildMakesACleanFilesystemWithTheSlotContract reads the images as GRUB
// does, with GRUB's own drivers.
func TestBuildMakesACleanFilesystemWithTheSlotContract(t *testing.T) {
	requireTool(t, "mke2fs", "e2fsprogs")
	requireTool(t, "mkfs.xfs", "xfsprogs")
	requireTool(t, "grub-fstest", "grub-common")
	requireTool(t, "busybox", "busybox-static")
	for f, check := range map[Filesystem][]string{Ext4: {"e2fsck", "-fn"}, XFS: {"xfs_repair", "-n"}} {
		t.Run(f.String(), func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "v1.img")
			o := Options{
				Version: "1.2.3", Variant: Unhealthy, Filesystem: f, Kernel: fakeKernel(t),
				Files: map[string][]byte{"/etc/abupdate/keyring.json": []byte("{}")},
			}
			if err := Build(t.Context(), o, img); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(check[0], append(check[1:], img)...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", check[0], err, out)
			}
			for path, want := range map[string]string{
				"/boot/vmlinuz":              "vmlinuz-6.1",
				VariantFile:                  "unhealthy\n",
				"/etc/abupdate/keyring.json": "{}",
				"/etc/os-release":            string(osRelease("1.2.3")),
			} {
				got, err := exec.Command("grub-fstest", img, "cat", "(loop0)"+path).Output()
				if err != nil || string(got) != want {
					t.Errorf("%s: %q, %v; want %q", path, got, err, want)
				}
			}
		})
	}
}

func TestInitramfsIsReproducibleAndOrdersModules(t *testing.T) {
	k := fakeKernel(t)
	first, err := makeInitramfs(k, []byte("busybox"), Ext4)
	if err != nil {
		t.Fatal(err)
	}
	second, err := makeInitramfs(k, []byte("busybox"), Ext4)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two runs differ (%v)", err)
	}
	if !bytes.HasPrefix(first, []byte("070701")) {
		t.Error("not an uncompressed newc archive")
	}
	if got := modules(k, storageModules); len(got) != 1 || got[0] != "virtio" {
		t.Errorf("modules that the kernel has: %v, want only virtio", got)
	}
}

func TestVariantsHaveWords(t *testing.T) {
	for v := Healthy; v <= Undecided; v++ {
		if got, err := ParseVariant(v.String()); err != nil || got != v {
			t.Errorf("%v: parsed as %v, %v", v, got, err)
		}
	}
	if Variant(0).Valid() {
		t.Error("the zero variant is valid")
	}
	if _, err := ParseVariant("sick"); err == nil {
		t.Error("an unknown word was accepted")
	}
}
