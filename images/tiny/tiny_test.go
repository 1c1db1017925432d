package tiny

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

func TestBuildMakesACleanFilesystemWithTheSlotContract(t *testing.T) {
	requireTool(t, "mke2fs", "e2fsprogs")
	requireTool(t, "busybox", "busybox-static")
	img := filepath.Join(t.TempDir(), "v1.img")
	o := Options{
		Version: "1.2.3", Variant: Unhealthy, Size: 16 << 20, Kernel: fakeKernel(t),
		Files: map[string][]byte{"/etc/abupdate/keyring.json": []byte("{}")},
	}
	if err := Build(t.Context(), o, img); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fn", img).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	for path, want := range map[string]string{
		"/boot/vmlinuz":              "vmlinuz-6.1",
		VariantFile:                  "unhealthy\n",
		"/etc/abupdate/keyring.json": "{}",
	} {
		got, err := exec.Command("debugfs", "-R", "cat "+path, img).Output()
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	release, err := exec.Command("debugfs", "-R", "cat /etc/os-release", img).Output()
	if err != nil || !strings.Contains(string(release), "VERSION_ID=1.2.3\n") {
		t.Errorf("os-release: %q, %v", release, err)
	}
}

func TestInitramfsIsReproducibleAndOrdersModules(t *testing.T) {
	k := fakeKernel(t)
	first, err := makeInitramfs(k, []byte("busybox"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := makeInitramfs(k, []byte("busybox"))
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
