package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bundle"
)

// entryAt returns where the content of an entry of a bundle begins.
func entryAt(tb testing.TB, b []byte, name string) int {
	tb.Helper()
	for at := 0; at+512 <= len(b); {
		header := b[at : at+512]
		if got, _, _ := bytes.Cut(header[:100], []byte{0}); string(got) == name {
			return at + 512
		}
		size, err := strconv.ParseInt(strings.Trim(string(header[124:135]), "\x00 "), 8, 64)
		if err != nil {
			tb.Fatalf("looking for %s: %v", name, err)
		}
		at += 512 + int(size+511)/512*512
	}
	tb.Fatalf("no entry %s", name)
	return 0
}

// flipped returns a copy of the bundle at path with one bit changed.
func flipped(tb testing.TB, path string, at func([]byte) int) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	b[at(b)] ^= 0x01
	return writeTemp(tb, b)
}

func writeTemp(tb testing.TB, b []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "bad.abu")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// TestBadBundle: whatever is wrong with a bundle, apply ends with the
// documented code and words that help, and the running slot and the primary
// stay as they were.
func TestBadBundle(t *testing.T) {
	f := getFactory(t)
	in := func(name string, off int) func([]byte) int {
		return func(b []byte) int {
			at := entryAt(t, b, name) + off
			for name == bundle.ManifestName && off > 0 && (b[at] < 'b' || b[at] > 'y') {
				at++ // a flip that leaves base64, so that only the signature can tell
			}
			return at
		}
	}
	variant := func(edit ...string) string {
		out := filepath.Join(t.TempDir(), "variant.abu")
		args := append(f.create(out), "--version", "2.0.0")
		if edit[0] == "--compatible" { // a list, to which a second flag would add
			at := slices.Index(args, edit[0])
			args = slices.Delete(args, at, at+2)
		}
		mustRun(t, append(args, edit...)...)
		return out
	}
	whole, err := os.ReadFile(f.v2)
	if err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large.img")
	if err := os.WriteFile(large, make([]byte, 20<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	unsigned := filepath.Join(t.TempDir(), "unsigned.abu")
	mustRun(t, "bundle", "create", "--rootfs", f.rootfs, "--product", "gw", "--compatible", "gw-x86", "--version", "2.0.0", "--level", "1", "--out", unsigned)
	foreign := filepath.Join(t.TempDir(), "foreign.abu")
	mustRun(t, "bundle", "create", "--rootfs", f.rootfs, "--product", "gw", "--compatible", "gw-x86", "--version", "2.0.0", "--level", "1", "--key", f.otherKey, "--out", foreign)

	rows := []struct {
		name, path string
		code       int
	}{
		{"no file at all", filepath.Join(t.TempDir(), "nothing.abu"), codeFailed},
		{"a directory", t.TempDir(), codeFailed},
		{"an empty file", writeTemp(t, nil), codeFormat},
		{"no bundle", writeTemp(t, bytes.Repeat([]byte("hello "), 1000)), codeFormat},
		{"cut short in the head", writeTemp(t, whole[:700]), codeFormat},
		{"cut short in the payload", writeTemp(t, whole[:len(whole)/2]), codeFormat},
		{"cut short by a byte", writeTemp(t, whole[:len(whole)-1]), codeFormat},
		{"trailing data", writeTemp(t, append(bytes.Clone(whole), make([]byte, 512)...)), codeFormat},
		{"one bit of the tar framing", flipped(t, f.v2, in(bundle.ManifestName, -512)), codeFormat},
		{"one bit of the manifest", flipped(t, f.v2, in(bundle.ManifestName, 60)), codeSignature},
		{"one bit of the frame index", flipped(t, f.v2, in("rootfs.frames", 100)), codeSignature},
		{"one bit of the block index", flipped(t, f.v2, in("rootfs.blocks", 20)), codeSignature},
		{"one bit of the payload", flipped(t, f.v2, in("rootfs.zst", 3<<20)), codeSignature},
		{"not signed", unsigned, codeSignature},
		{"signed by a stranger", foreign, codeSignature},
		{"another product", variant("--product", "toaster"), codeIncompatible},
		{"another device", variant("--compatible", "gw-arm"), codeIncompatible},
		{"a newer agent needed", variant("--minimum-agent", "99.0.0"), codeIncompatible},
		{"an older version", variant("--version", "0.9.9"), codeDowngrade},
		{"the running version", f.v1, codeNothing},
		{"too large for the slot", variant("--rootfs", large), codeNoFit},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			checkRefused(t, f, r.path, r.code)
		})
	}
	t.Run("a bad frame is found before the first write with --verify-first", func(t *testing.T) {
		disk := f.device(t)
		before := readRegion(t, disk)
		o := abupdate("--disk", disk, "apply", "--verify-first", flipped(t, f.v2, in("rootfs.zst", 3<<20)))
		if o.code != codeSignature || !bytes.Equal(before, readRegion(t, disk)) {
			t.Errorf("exit code %d, disk changed: %v\n%s", o.code, !bytes.Equal(before, readRegion(t, disk)), o.stderr)
		}
	})
	t.Run("standard input cannot be read twice", func(t *testing.T) {
		if o := abupdateIn(whole, "--disk", f.device(t), "apply", "--verify-first", "-"); o.code != codeUsage {
			t.Errorf("exit code %d\n%s", o.code, o.stderr)
		}
	})
}

// TestKeysRefused: bundles whose keys the device does not accept any more, or
// not enough of them.
func TestKeysRefused(t *testing.T) {
	f := getFactory(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	create := func(out string, keys ...string) string {
		args := []string{"bundle", "create", "--rootfs", f.rootfs, "--product", "gw", "--compatible", "gw-x86", "--version", "2.0.0", "--level", "1", "--out", at(out)}
		for _, key := range keys {
			args = append(args, "--key", key)
		}
		mustRun(t, args...)
		return at(out)
	}

	t.Run("too few signatures", func(t *testing.T) {
		mustRun(t, "keyring", "create", "--keyring", at("two.json"), "--threshold", "2")
		mustRun(t, "keyring", "add", "--keyring", at("two.json"), "--generate", at("one.pem"))
		mustRun(t, "keyring", "add", "--keyring", at("two.json"), "--generate", at("two.pem"))
		both := create("both.abu", at("one.pem"), at("two.pem"))
		disk := at("two.img")
		mustRun(t, "image", "create", "--bundle", both, "--keyring", at("two.json"), "--compatible", "gw-x86", "--firmware", "bios",
			"--size", "320MiB", "--slot-size", "16MiB", "--out", disk)
		for name, path := range map[string]string{"one": create("one.abu", at("one.pem")), "the same twice": create("same.abu", at("one.pem"), at("one.pem"))} {
			if o := abupdate("--disk", disk, "apply", "--reinstall", path); o.code != codeSignature || !strings.Contains(o.stderr, "hint: ") {
				t.Errorf("%s: exit code %d\n%s", name, o.code, o.stderr)
			}
		}
		mustRun(t, "--disk", disk, "apply", "--reinstall", both)
	})

	t.Run("a revoked key", func(t *testing.T) {
		next := at("next.json")
		mustRun(t, "keyring", "create", "--from", f.keyring, "--keyring", next)
		mustRun(t, "keyring", "add", "--keyring", next, "--generate", at("new.pem"))
		revokeFirstKey(t, f.keyring, next)
		mustRun(t, "keyring", "sign", "--keyring", next, "--previous", f.keyring, "--key", f.key, "--key", at("new.pem"), "--keyrings", at("keyrings.json"))
		withChain := func(out, key string) string {
			mustRun(t, "bundle", "create", "--rootfs", f.rootfs, "--product", "gw", "--compatible", "gw-x86", "--version", "2.0.0", "--level", "1",
				"--keyrings", at("keyrings.json"), "--key", key, "--out", at(out))
			return at(out)
		}
		disk := f.device(t)
		if o := abupdate("--disk", disk, "apply", withChain("old.abu", f.key)); o.code != codeSignature {
			t.Errorf("signed by the revoked key: exit code %d\n%s", o.code, o.stderr)
		}
		mustRun(t, "--disk", disk, "apply", withChain("new.abu", at("new.pem")))
		mustRun(t, "--disk", disk, "commit")
		// The commit moved the device to the new keyring: the old key is gone
		// also for bundles that say nothing of the rotation.
		if o := abupdate("--disk", disk, "apply", "--reinstall", f.v2); o.code != codeSignature {
			t.Errorf("after the commit, signed by the revoked key: exit code %d\n%s", o.code, o.stderr)
		}
	})

	t.Run("an older epoch", func(t *testing.T) {
		args := append(f.create(at("epoch.abu")), "--version", "2.0.0", "--epoch", "7")
		mustRun(t, args...)
		disk := f.device(t)
		mustRun(t, "--disk", disk, "apply", at("epoch.abu"))
		mustRun(t, "--disk", disk, "commit")
		mustRun(t, append(f.create(at("late.abu")), "--version", "3.0.0", "--epoch", "6")...)
		for _, flags := range [][]string{nil, {"--allow-downgrade", "--reinstall"}} {
			o := abupdate(append([]string{"--disk", disk, "apply", at("late.abu")}, flags...)...)
			if o.code != codeDowngrade || !strings.Contains(o.stderr, "epoch") {
				t.Errorf("%v: exit code %d\n%s", flags, o.code, o.stderr)
			}
		}
	})
}

// revokeFirstKey revokes in next the one key of the keyring at path.
func revokeFirstKey(tb testing.TB, path, next string) {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	ring, err := bundle.ParseKeyring(b)
	if err != nil {
		tb.Fatal(err)
	}
	mustRun(tb, "keyring", "revoke", "--keyring", next, "--id", ring.Keys[0].ID)
}

// checkRefused applies a bad bundle and looks at what became of the device.
func checkRefused(t *testing.T, f *factory, ref string, code int) {
	t.Helper()
	disk := f.device(t)
	slotA := readSlotA(t, disk)
	o := abupdate("--disk", disk, "apply", ref)
	if o.code != code {
		t.Errorf("exit code %d, want %d\n%s", o.code, code, o.stderr)
	}
	if !strings.Contains(o.stderr, "abupdate: ") || !strings.Contains(o.stderr, "hint: ") {
		t.Errorf("no error with a hint: %q", o.stderr)
	}
	if !bytes.Equal(slotA, readSlotA(t, disk)) {
		t.Error("the running slot changed")
	}
	s := status(t, disk)
	if s["booted"] != "a" || s["next"] != "a" || s["committed"] != true {
		t.Errorf("status %v", s)
	}
	if b := s["slots"].(map[string]any)["b"].(map[string]any); b["state"] != "empty" {
		t.Errorf("slot b is %v", b["state"])
	}
	// And the device still takes a good one.
	mustRun(t, "--disk", disk, "apply", f.v2)
}

// Where image create puts abboot and the slots of the test's disk, in bytes.
const (
	slotAStart = 257 << 20
	slotBStart = slotAStart + 16<<20
)

func readSlotA(tb testing.TB, disk string) []byte {
	tb.Helper()
	return readAt(tb, disk, slotAStart, slotBStart-slotAStart)
}

// readRegion is all that an update may ever write: abboot and the slots.
func readRegion(tb testing.TB, disk string) []byte {
	tb.Helper()
	return readAt(tb, disk, 0, slotBStart+16<<20)
}

func readAt(tb testing.TB, path string, off, n int64) []byte {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil && err != io.EOF {
		tb.Fatal(err)
	}
	return b
}

// TestBadServer: the same for what a server may do.
func TestBadServer(t *testing.T) {
	f := getFactory(t)
	whole, err := os.ReadFile(f.v2)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(whole)
	changed[len(changed)-3<<20] ^= 1
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/gone", func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		w.Header().Set("ETag", `"1"`)
		_, _ = w.Write(whole[:len(whole)/2])
		panic(http.ErrAbortHandler)
	})
	var changes atomic.Int64
	mux.HandleFunc("/changes", func(w http.ResponseWriter, r *http.Request) {
		if changes.Add(1) == 1 {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
			_, _ = w.Write(whole[:len(whole)/2])
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"2"`)
		http.ServeContent(w, r, "", time.Unix(2e9, 0), bytes.NewReader(changed))
	})
	mux.HandleFunc("/wrong-range", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("Range") == "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
			_, _ = w.Write(whole[:len(whole)/2])
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Range", "bytes 0-99/"+strconv.Itoa(len(whole)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(whole[:100])
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	config := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(config, []byte("[download]\nretries = 1\nidle_timeout = \"1s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/missing", "/gone", "/changes", "/wrong-range"} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			disk := f.device(t)
			o := abupdate("--config", config, "--disk", disk, "apply", server.URL+path)
			if o.code != codeDownload || !strings.Contains(o.stderr, "hint: ") {
				t.Errorf("exit code %d, want %d\n%s", o.code, codeDownload, o.stderr)
			}
			if s := status(t, disk); s["next"] != "a" {
				t.Errorf("status %v", s)
			}
			mustRun(t, "--disk", disk, "apply", f.v2)
		})
	}
	t.Run("no server", func(t *testing.T) {
		closed := httptest.NewServer(nil)
		closed.Close()
		if o := abupdate("--config", config, "--disk", f.device(t), "apply", closed.URL); o.code != codeDownload {
			t.Errorf("exit code %d\n%s", o.code, o.stderr)
		}
	})
}

// TestBadSurroundings: what is wrong outside of the bundle.
func TestBadSurroundings(t *testing.T) {
	f := getFactory(t)
	badConfig := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(badConfig, []byte("[trial]\ntries = 3\nretrys = 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	blank := filepath.Join(t.TempDir(), "blank.img")
	if err := os.WriteFile(blank, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no command", []string{"aply"}, codeUsage, "--help"},
		{"no source", []string{"apply"}, codeUsage, "--help"},
		{"unknown flag", []string{"apply", "--force", f.v2}, codeUsage, "--help"},
		{"unknown verb of a group", []string{"bundle", "crate"}, codeUsage, "--help"},
		{"bad config", []string{"--config", badConfig, "--disk", f.disk, "status"}, codeUsage, "toml:3:"},
		{"missing config", []string{"--config", badConfig + "x", "--disk", f.disk, "status"}, codeUsage, "config.toml"},
		{"a disk that is not there", []string{"--disk", blank + "x", "status"}, codeFailed, "check the path"},
		{"a disk with nothing on it", []string{"--disk", blank, "apply", f.v2}, codeBootState, "not set up"},
		{"a bundle for a disk", []string{"--disk", f.v2, "status"}, codeBootState, "not set up"},
		{"a device for a disk image", []string{"--disk", "/dev/null", "status"}, codeUsage, "regular file"},
		{"a scheme nobody knows", []string{"--disk", f.disk, "apply", "ftp://example.com/x"}, codeUsage, "http"},
		{"health of a disk image", []string{"--disk", f.disk, "health"}, codeUsage, "running machine"},
		{"a size that is none", []string{"image", "create", "--size", "big"}, codeUsage, "size"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			o := abupdate(r.args...)
			if o.code != r.code || !strings.Contains(o.stderr, r.says) {
				t.Errorf("exit code %d, want %d; want %q in\n%s", o.code, r.code, r.says, o.stderr)
			}
		})
	}
}
