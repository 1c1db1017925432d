package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImageCreateRefusals: what is wrong is said with its exit code, and no
// file is made.
func TestImageCreateRefusals(t *testing.T) {
	dir := t.TempDir()
	junk, ring, out := filepath.Join(dir, "junk"), filepath.Join(dir, "k.json"), filepath.Join(dir, "gateway.img")
	if err := os.WriteFile(junk, []byte("not a bundle"), 0o600); err != nil {
		t.Fatal(err)
	}
	imageRun := func(args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, nil, &stdout, &stderr)
		return code, stderr.String()
	}
	if code, text := imageRun("keyring", "create", "--keyring", ring); code != codeDone {
		t.Fatalf("exit code %d: %s", code, text)
	}
	if code, text := imageRun("keyring", "add", "--keyring", ring, "--generate", filepath.Join(dir, "key.pem")); code != codeDone {
		t.Fatalf("exit code %d: %s", code, text)
	}
	flags := map[string]string{
		"--bundle": junk, "--keyring": ring, "--compatible": "gw", "--firmware": "bios",
		"--size": "1GiB", "--slot-size": "64MiB", "--out": out,
	}
	for name, tc := range map[string]struct {
		flag, value string
		code        int
	}{
		"no bundle":      {"--bundle", junk, codeFormat},
		"missing bundle": {"--bundle", junk + "x", codeFailed},
		"firmware":       {"--firmware", "coreboot", codeUsage},
		"size":           {"--size", "large", codeUsage},
		"no size":        {"--size", "", codeUsage},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"image", "create"}
			for flag, value := range flags {
				if flag == tc.flag {
					value = tc.value
				}
				args = append(args, flag, value)
			}
			if code, text := imageRun(args...); code != tc.code || !strings.HasPrefix(text, "abupdate: ") {
				t.Errorf("exit code %d, want %d: %s", code, tc.code, text)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("a file was made")
			}
		})
	}
	if code, _ := imageRun("bundle", "boot-image", "--firmware", "all", "--out", out); code != codeUsage {
		t.Errorf("boot-image for unknown firmware: exit code %d", code)
	}
	if code, text := imageRun("bundle", "boot-image", "--grub-dir", dir, "--out", out); code != codeFailed || !strings.Contains(text, "hint") {
		t.Errorf("boot-image without GRUB: exit code %d: %s", code, text)
	}
}
