package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSlotContract: bundle create lets GRUB's own drivers look for the kernel
// and the initramfs.
func TestSlotContract(t *testing.T) {
	f := getFactory(t)
	image := func(files map[string]string) string {
		tree := t.TempDir()
		if err := os.Mkdir(filepath.Join(tree, "boot"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(tree, "boot", name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		img := filepath.Join(t.TempDir(), "rootfs.img")
		if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, img, "4M").CombinedOutput(); err != nil {
			t.Fatalf("mke2fs: %v\n%s", err, out)
		}
		return img
	}
	rows := map[string]struct {
		image string
		says  string
	}{
		"complete":       {image(map[string]string{"vmlinuz": "kernel", "initramfs": "cpio"}), ""},
		"no initramfs":   {image(map[string]string{"vmlinuz": "kernel"}), "GRUB cannot read /boot/initramfs"},
		"empty kernel":   {image(map[string]string{"vmlinuz": "", "initramfs": "cpio"}), "/boot/vmlinuz is empty"},
		"no file system": {f.rootfs, "unknown filesystem"},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			o := abupdate("--quiet", "bundle", "create", "--rootfs", r.image, "--product", "gw", "--compatible", "gw-x86",
				"--version", "1.0.0", "--level", "1", "--key", f.key, "--out", filepath.Join(t.TempDir(), "b.abu"))
			if o.code != codeDone || !strings.Contains(o.stderr, r.says) || r.says == "" && o.stderr != "" {
				t.Errorf("exit code %d, want %q in %q", o.code, r.says, o.stderr)
			}
		})
	}
}
