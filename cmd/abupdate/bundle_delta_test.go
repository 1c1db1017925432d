package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDelta brings a device to the next version by a delta; then one whose
// running slot was written to, which needs the whole bundle too.
func TestDelta(t *testing.T) {
	f := getFactory(t)
	dir := t.TempDir()
	image, err := os.ReadFile(f.rootfs)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Clone(image)
	used := bytes.LastIndexFunc(image, func(r rune) bool { return r != 0 })
	for i := used / 2; i < used; i += 500 {
		image[i]++
	}
	next := *f
	next.rootfs = filepath.Join(dir, "rootfs.img")
	if err := os.WriteFile(next.rootfs, image, 0o600); err != nil {
		t.Fatal(err)
	}
	from, to, d := filepath.Join(dir, "1.abu"), filepath.Join(dir, "3.abu"), filepath.Join(dir, "3.abud")
	mustRun(t, append(f.create(from), "--version", "1.0.0")...)
	mustRun(t, append(next.create(to), "--version", "3.0.0")...)
	for _, level := range []string{"quick", "best"} {
		mustRun(t, "bundle", "delta", "--from", from, "--to", to, "--level", level, "--out", d)
	}
	if o := abupdate("bundle", "delta", "--from", from, "--to", to, "--level", "better", "--out", d); o.code != codeUsage {
		t.Errorf("an unknown level: exit code %d", o.code)
	}
	if o := abupdate("bundle", "delta", "--from", d, "--to", to, "--out", d+"2"); o.code != codeFormat {
		t.Errorf("a delta from a delta: exit code %d: %s", o.code, o.stderr)
	}

	disk := f.device(t)
	mustRun(t, "--disk", disk, "apply", "--verify-first", d)
	if !bytes.Equal(image, readAt(t, disk, slotBStart, int64(len(image)))) {
		t.Error("slot b is not the new image")
	}
	disk = f.device(t)
	w, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	at := int64(used) * 3 / 4
	if _, err := w.WriteAt(bytes.Repeat([]byte{old[at] + 1}, 4096), slotAStart+at); err != nil {
		t.Fatal(err)
	}
	if o := abupdate("--disk", disk, "apply", d); o.code != codeIncompatible || !strings.Contains(o.stderr, "--full") {
		t.Errorf("without the whole bundle: exit code %d: %s", o.code, o.stderr)
	}
	if s := status(t, disk); s["next"] != "a" {
		t.Errorf("after a refusal %v boots next", s["next"])
	}
	if o := abupdate("--disk", disk, "apply", d, "--full", "-"); o.code != codeUsage {
		t.Errorf("the whole bundle on standard input: exit code %d", o.code)
	}
	mustRun(t, "--disk", disk, "apply", d, "--full", to)
	if !bytes.Equal(image, readAt(t, disk, slotBStart, int64(len(image)))) {
		t.Error("slot b is not the new image")
	}
}
