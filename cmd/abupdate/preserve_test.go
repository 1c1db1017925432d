package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/preserve"
)

// twoSystems makes the roots of an old and a new system.
func twoSystems(t *testing.T) (old, next string) {
	t.Helper()
	old, next = filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new")
	for name, content := range map[string]string{
		old + "/etc/passwd":    "root:x:0:0:root:/root:/bin/bash\n",
		old + "/etc/shadow":    "root:$6$salt$hashhashhashhash:1::::::\n",
		old + "/etc/group":     "root:x:0:\n",
		old + "/etc/hostname":  "gw-17\n",
		next + "/etc/passwd":   "root:x:0:0:root:/root:/bin/bash\nacme:x:990:990::/:/sbin/nologin\n",
		next + "/etc/group":    "root:x:0:\nacme:x:990:\n",
		next + "/etc/hostname": "localhost\n",
		next + "/bin/bash":     "",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return old, next
}

func TestPreserveList(t *testing.T) {
	old, next := twoSystems(t)
	out := mustRun(t, "preserve", "list", "--root", old, "--to", next, "--json")
	kinds := map[string]int{}
	for line := range strings.Lines(out) {
		var d declared
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		kinds[d.Kind]++
	}
	if kinds["handler"] != len(preserve.HandlerNames()) || kinds["path"] == 0 || kinds["drop"] == 0 {
		t.Fatalf("%v", kinds)
	}
	if out = mustRun(t, "preserve", "list", "--root", old); !strings.Contains(out, "path     /etc/abupdate/**  (built-in:") {
		t.Fatal(out)
	}
}

func TestPreserveDiff(t *testing.T) {
	old, next := twoSystems(t)
	out := mustRun(t, "preserve", "diff", "--root", old, "--to", next, "--files")
	for _, want := range []string{"carried    hostname  /etc/hostname: gw-17", "write      0644     0:0     /etc/hostname"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	var d planned
	if err := json.Unmarshal([]byte(mustRun(t, "preserve", "diff", "--root", old, "--to", next, "--json")), &jsonNotes{&d}); err != nil {
		t.Fatal(err)
	}
	if d.FormatVersion != 1 || len(d.Files) == 0 || d.Bytes == 0 {
		t.Fatalf("%+v", d)
	}
	if list, err := os.ReadDir(filepath.Join(next, "var")); err == nil {
		t.Fatalf("diff has written: %v", list)
	}
}

// jsonNotes reads a planned without its notes, whose kinds are written only.
type jsonNotes struct{ *planned }

func (j *jsonNotes) UnmarshalJSON(b []byte) error {
	var raw struct {
		FormatVersion int
		Notes         []struct{ Kind, Handler, Subject, Detail string }
		Files         []plannedFile
		Bytes         int64
	}
	err := json.Unmarshal(b, &raw)
	j.FormatVersion, j.Files, j.Bytes = raw.FormatVersion, raw.Files, raw.Bytes
	return err
}

// TestPreserveCapture: the archive stands in for the system.
func TestPreserveCapture(t *testing.T) {
	old, next := twoSystems(t)
	archive := filepath.Join(t.TempDir(), "set.tar")
	mustRun(t, "preserve", "capture", "--root", old, "--out", archive)
	if st, err := os.Stat(archive); err != nil || st.Mode() != 0o600 {
		t.Fatalf("%v, %v: it holds password hashes", st, err)
	}
	direct := mustRun(t, "preserve", "diff", "--root", old, "--to", next, "--files", "--json")
	if from := mustRun(t, "preserve", "diff", "--from", archive, "--to", next, "--files", "--json"); from != direct {
		t.Fatalf("%s\nfrom the archive\n%s", direct, from)
	}
	if err := os.Truncate(archive, 4096); err != nil {
		t.Fatal(err)
	}
	if o := abupdate("preserve", "diff", "--from", archive, "--to", next); o.code != codePreserve || !strings.Contains(o.stderr, "not a whole capture archive") {
		t.Fatalf("%+v", o)
	}
}

func TestPreserveRefusals(t *testing.T) {
	old, next := twoSystems(t)
	policy := filepath.Join(old, "etc/abupdate/preserve.d/site.toml")
	if err := os.MkdirAll(filepath.Dir(policy), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policy, []byte("[[path]]\npath = \"/etc/x\"\nmising = \"ok\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := abupdate("preserve", "diff", "--root", old, "--to", next)
	want := "site.toml:3: mising: unknown key"
	if os.Getuid() != 0 {
		want = "must be a regular file of root's"
	}
	if o.code != codePreserve || !strings.Contains(o.stderr, want) || !strings.Contains(o.stderr, "hint:") {
		t.Fatalf("%+v", o)
	}
	for _, args := range [][]string{
		{"preserve", "diff", "--root", old},
		{"preserve", "restore", "--root", next, "--to", next},
		{"preserve", "restore"},
		{"preserve", "capture"},
		{"preserve", "diff", "--disk", "x.img"},
	} {
		if o := abupdate(args...); o.code != codeUsage {
			t.Errorf("%v: %+v", args, o)
		}
	}
}

// TestPreserveDefaults: with the list, a default of the old image that nobody
// touched is not carried.
func TestPreserveDefaults(t *testing.T) {
	old, next := twoSystems(t)
	list := mustRun(t, "preserve", "defaults", "--root", old)
	name := filepath.Join(old, "usr/share/abupdate/defaults.json")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := mustRun(t, "preserve", "diff", "--root", old, "--to", next); !strings.Contains(out, "kept       hostname  /etc/hostname: never changed") {
		t.Fatal(out)
	}
}
