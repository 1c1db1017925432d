package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBundlePrevious: bundle create names the files that a release costs.
func TestBundlePrevious(t *testing.T) {
	t.Setenv("PATH", "/usr/sbin:/sbin:"+os.Getenv("PATH"))
	v := newVendor(t)
	pack := func(changed string) {
		for name, data := range map[string]string{
			"tree/usr/program":    strings.Repeat("program "+changed+"\n", 9000),
			"tree/usr/data":       strings.Repeat("data\n", 9000),
			"tree/boot/initramfs": "\x1f\x8b" + strings.Repeat(changed+"\n", 9000),
		} {
			if err := os.MkdirAll(filepath.Dir(v.path(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			v.write(name, []byte(data))
		}
		out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", v.path("tree"), v.path("rootfs.img"), "16M").CombinedOutput()
		if err != nil {
			t.Fatalf("mke2fs (Debian package e2fsprogs): %v: %s", err, out)
		}
	}
	pack("one")
	v.ok("bundle create --rootfs @rootfs.img --product gw --compatible gw-1 --level 1 --version 1.0.0 --out @old.abu")
	pack("two")
	again := "bundle create --rootfs @rootfs.img --product gw --compatible gw-1 --level 1 --version 2.0.0 --previous @old.abu --out @new.abu"
	text := v.ok(again)
	for _, want := range []string{"/usr/program", "/boot/initramfs  (compressed: gzip)", "uncompressed", "the file system itself"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "/usr/data") {
		t.Errorf("a file that did not change is named:\n%s", text)
	}
	var report previousReport
	for line := range strings.Lines(v.ok("--json " + again)) {
		if !strings.Contains(line, `"previous"`) {
			continue
		}
		if err := json.Unmarshal([]byte(line), &report); err != nil {
			t.Fatal(err)
		}
	}
	if report.Type != "previous" || len(report.Files) < 2 || report.New == 0 || report.New > report.Bytes {
		t.Errorf("%+v", report)
	}
	v.code(1, strings.Replace(again, "@old.abu", "@none.abu", 1))
}
