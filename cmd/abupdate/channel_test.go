package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// channelDir is a vendor's directory: version 3.0.0, a delta from the
// factory's version 1.0.0, and the channel.
func channelDir(t *testing.T, f *factory) (dir string, image []byte) {
	t.Helper()
	dir = t.TempDir()
	image, err := os.ReadFile(f.rootfs)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1 << 20; i < 2<<20; i += 500 {
		image[i]++
	}
	next := *f
	next.rootfs = filepath.Join(t.TempDir(), "rootfs.img")
	if err := os.WriteFile(next.rootfs, image, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "gw-3.abu")
	mustRun(t, append(next.create(out), "--version", "3.0.0", "--delta-from", f.v1)...)
	mustRun(t, "bundle", "channel", out, filepath.Join(dir, "gw-3-from-1.0.0.abud"), "--key", f.key, "--stale-after", "30")
	// Last-Modified tells nothing of a file of this very second (RFC 9110
	// §8.8.2.2), and no release is that new.
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{out, filepath.Join(dir, "gw-3-from-1.0.0.abud"), filepath.Join(dir, "channel.json")} {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	return dir, image
}

// asked is a web server of a directory that notes what it was asked for.
type asked struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string]int
}

func serveDir(t *testing.T, dir string) *asked {
	t.Helper()
	s := &asked{files: map[string]int{}}
	files := http.FileServer(http.Dir(dir))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.files[strings.TrimPrefix(r.URL.RequestURI(), "/")]++
		s.mu.Unlock()
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestChannel: one command, whatever the device runs.
func TestChannel(t *testing.T) {
	f := getFactory(t)
	dir, image := channelDir(t, f)
	s := serveDir(t, dir)

	t.Run("by the delta", func(t *testing.T) {
		disk := f.device(t)
		mustRun(t, "--disk", disk, "apply", s.URL+"/?token=secret")
		if !bytes.Equal(image, readAt(t, disk, slotBStart, int64(len(image)))) {
			t.Error("slot b is not the new image")
		}
		// The access token goes with each request, and the whole bundle is not needed.
		if len(s.files) != 2 || s.files["channel.json?token=secret"] == 0 || s.files["gw-3-from-1.0.0.abud?token=secret"] == 0 {
			t.Errorf("asked for %v", s.files)
		}
		mustRun(t, "--disk", disk, "commit")
		if o := abupdate("--disk", disk, "apply", s.URL+"/channel.json"); o.code != codeNothing {
			t.Errorf("once more: exit code %d\n%s", o.code, o.stderr)
		}
	})

	t.Run("from a stick", func(t *testing.T) {
		disk := f.device(t)
		mustRun(t, "--disk", disk, "apply", dir+"/")
		if !bytes.Equal(image, readAt(t, disk, slotBStart, int64(len(image)))) {
			t.Error("slot b is not the new image")
		}
	})

	t.Run("by the whole bundle", func(t *testing.T) {
		disk := f.device(t)
		other := *f
		other.rootfs = filepath.Join(t.TempDir(), "other.img")
		if err := os.WriteFile(other.rootfs, bytes.Repeat([]byte("other"), 1<<20)[:4<<20], 0o600); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "other.abu")
		mustRun(t, append(other.create(path), "--version", "2.1.0")...)
		mustRun(t, "--disk", disk, "apply", path)
		mustRun(t, "--disk", disk, "commit")
		clear(s.files)
		mustRun(t, "--disk", disk, "apply", s.URL+"/channel.json")
		if !bytes.Equal(image, readAt(t, disk, slotAStart, int64(len(image)))) {
			t.Error("slot a is not the new image")
		}
		if s.files["gw-3.abu"] == 0 || s.files["gw-3-from-1.0.0.abud"] != 0 {
			t.Errorf("asked for %v", s.files)
		}
	})

	t.Run("with a delta that is gone", func(t *testing.T) {
		if err := os.Rename(filepath.Join(dir, "gw-3-from-1.0.0.abud"), filepath.Join(dir, "gone")); err != nil {
			t.Fatal(err)
		}
		disk := f.device(t)
		o := abupdate("--disk", disk, "apply", s.URL+"/")
		if o.code != codeDone || !strings.Contains(o.stderr, "taking "+s.URL+"/gw-3.abu") {
			t.Errorf("exit code %d\n%s", o.code, o.stderr)
		}
		if !bytes.Equal(image, readAt(t, disk, slotBStart, int64(len(image)))) {
			t.Error("slot b is not the new image")
		}
	})
}

// TestAttack_ChannelServer: what a server without the vendor's keys can do.
func TestAttack_ChannelServer(t *testing.T) {
	f := getFactory(t)
	dir, _ := channelDir(t, f)
	latest := readFile(t, filepath.Join(dir, "channel.json"))
	variant := func(args []string, name string) []byte {
		sub := t.TempDir()
		out := filepath.Join(sub, name)
		mustRun(t, append(args, "--out", out)...)
		mustRun(t, "bundle", "channel", out, "--key", f.key)
		return readFile(t, filepath.Join(sub, "channel.json"))
	}
	create := f.create("")
	create = create[:len(create)-2] // without --out
	older := variant(append(create, "--version", "0.9.0"), "gw-3.abu")
	between := variant(append(create, "--version", "1.5.0"), "gw-3.abu")
	other := append([]string(nil), create...)
	for i := range other {
		if other[i] == "gw" {
			other[i] = "toaster"
		}
	}
	toaster := variant(append(other, "--version", "3.0.0"), "gw-3.abu")
	for name, c := range map[string]struct {
		channel []byte
		code    int
	}{
		"replayed: one from before what runs":       {older, codeNothing},
		"replayed: its bundle is not on the server": {between, codeSignature},
		"of another product":                        {toaster, codeIncompatible},
		"one bit":                                   {bytes.Replace(latest, []byte(`"sig":"`), []byte(`"sig":"A`), 1), codeFormat},
		"a signature of something else":             {swapSignature(latest, between), codeSignature},
		"a web page":                                {[]byte("<html>welcome</html>"), codeFormat},
		"empty":                                     {nil, codeFormat},
		"longer than any channel":                   {bytes.Repeat([]byte(" "), 2<<20), codeFormat},
		"a bundle":                                  {readFile(t, f.v2), codeFormat},
		"trailing data":                             {append(bytes.Clone(latest), '\n'), codeFormat},
		"white space that a parser would not care about": {bytes.Replace(latest, []byte(`{"payload":`), []byte(`{ "payload":`), 1), codeFormat},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "channel.json"), c.channel, 0o600); err != nil {
				t.Fatal(err)
			}
			checkRefused(t, f, serveDir(t, dir).URL+"/", c.code)
		})
	}
	t.Run("endless", func(t *testing.T) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}))
		defer s.Close()
		checkRefused(t, f, s.URL+"/", codeFormat)
	})
	t.Run("not there", func(t *testing.T) {
		checkRefused(t, f, serveDir(t, t.TempDir()).URL+"/", codeDownload)
	})
	t.Run("with --full", func(t *testing.T) {
		if o := abupdate("--disk", f.device(t), "apply", dir+"/", "--full", f.v2); o.code != codeUsage {
			t.Errorf("exit code %d\n%s", o.code, o.stderr)
		}
	})
}

// swapSignature puts the signatures of one envelope on another.
func swapSignature(to, from []byte) []byte {
	at := func(b []byte) int { return bytes.Index(b, []byte(`"signatures"`)) }
	return append(bytes.Clone(to[:at(to)]), from[at(from):]...)
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestChannelRef(t *testing.T) {
	for ref, want := range map[string]string{
		"https://h/":                  "https://h/channel.json",
		"https://h":                   "",
		"https://h/gw/?t=1":           "https://h/gw/channel.json?t=1",
		"https://h/gw/channel.json":   "https://h/gw/channel.json",
		"https://h/c.json?channel.js": "",
		"https://h/gw.abu":            "",
		"https://h/notchannel.json":   "",
		"/mnt/":                       "/mnt/channel.json",
		"/mnt/channel.json":           "/mnt/channel.json",
		"channel.json":                "channel.json",
		"/mnt/gw.abu":                 "",
		"-":                           "",
	} {
		got, ok := channelRef(ref)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v; want %q", ref, got, ok, want)
		}
	}
	for channel, want := range map[string]string{
		"https://u:p@h/gw/channel.json?t=1": "https://u:p@h/gw/b.abu?t=1",
		"/mnt/channel.json":                 "/mnt/b.abu",
		"channel.json":                      "b.abu",
	} {
		if got := beside(channel, "b.abu"); got != want {
			t.Errorf("beside %s: %q; want %q", channel, got, want)
		}
	}
}
