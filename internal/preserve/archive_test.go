package preserve

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func capture(tb testing.TB, old, new Tree) []byte {
	tb.Helper()
	policy, err := LoadPolicy(old, new)
	if err != nil {
		tb.Fatal(err)
	}
	return captureWith(tb, old, policy)
}

func captureWith(tb testing.TB, old Tree, policy *Policy) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := Capture(context.Background(), old, policy, &out); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// sketch renders a plan for comparison.
func sketch(p *Plan) string {
	var out strings.Builder
	for _, op := range p.Ops {
		fmt.Fprintf(&out, "%v %s %v %d:%d %q %q %q %x %q\n", op.Kind, op.Path, op.Mode, op.UID, op.GID, op.Xattrs, op.Target, op.Data, op.SHA256, op.Source)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&out, "%v\n", n)
	}
	return out.String() + p.KernelArgs
}

// TestCaptureIsEnough: for every system of the fixtures the plan from a
// capture archive is the plan from the system itself.
func TestCaptureIsEnough(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/handlers/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "testdata/el7-el9.txtar") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		trees, want := parseFixture(t, string(b))
		if trees["new"] == nil {
			trees["new"] = newMemTree()
		}
		if _, refused := want["refused"]; refused {
			continue
		}
		old, err := ReadArchive(bytes.NewReader(capture(t, trees["old"], trees["new"])), int64(len(capture(t, trees["old"], trees["new"]))))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		direct, err1 := NewPlan(context.Background(), trees["old"], trees["new"], nil)
		archived, err2 := NewPlan(context.Background(), old, trees["new"], nil)
		if fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Errorf("%s: %v, from the archive %v", file, err1, err2)
			continue
		}
		if err1 == nil && sketch(direct) != sketch(archived) {
			t.Errorf("%s:\n%s\nfrom the archive\n%s", file, sketch(direct), sketch(archived))
		}
	}
}

func TestCaptureIsDeterministic(t *testing.T) {
	old, new := elTrees(t)
	if !bytes.Equal(capture(t, old, new), capture(t, old, new)) {
		t.Fatal("two archives of one system differ")
	}
}

// TestCaptureJudge: tar(1) reads what we write.
func TestCaptureJudge(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Fatal("apt-get install tar")
	}
	old, new := elTrees(t)
	cmd := exec.Command("tar", "-tv", "--numeric-owner", "--no-quote-chars=\\")
	cmd.Stdin = bytes.NewReader(capture(t, old, new))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"---------- 0/0", " etc/shadow\n", "-rw-r----- 0/996", " etc/acme/site.conf\n", "drwx------ 1000/1000", "etc/acme/current -> site.conf"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestCaptureLargeFileAndXattrs(t *testing.T) {
	old, _ := elTrees(t)
	large := strings.Repeat("0123456789abcdef", inline/8)
	n := &memNode{entry: Entry{Path: "etc/acme/large", Kind: KindFile, Mode: 0o600, Size: int64(len(large))}, open: inMemory(large), xattrs: map[string]string{
		xattrACL: "\x02\x00\x00\x00", "user.note": "a=b\nc\x00d", xattrLabel: "old_u:object_r:etc_t:s0\x00", "trusted.x": "y",
	}}
	if err := old.put(n); err != nil {
		t.Fatal(err)
	}
	old.seal()
	b := capture(t, old, newMemTree())
	tree, err := ReadArchive(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	attrs, err := tree.Xattrs("etc/acme/large")
	if err != nil || len(attrs) != 2 || attrs["user.note"] != "a=b\nc\x00d" || attrs[xattrACL] == "" {
		t.Fatalf("%q, %v", attrs, err)
	}
	if got, err := ReadFile(tree, "etc/acme/large", 1<<30); err != nil || string(got) != large {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if bytes.Contains(b, []byte(xattrLabel)) {
		t.Fatal("a label was captured")
	}
}

// TestAttack_RestoreArchive: an archive with one bit changed, cut short,
// lengthened, or made by another tar is refused.
func TestAttack_RestoreArchive(t *testing.T) {
	t.Parallel()
	old, new := elTrees(t)
	whole := capture(t, old, new)
	open := func(b []byte) error {
		_, err := ReadArchive(bytes.NewReader(b), int64(len(b)))
		return err
	}
	if err := open(whole); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 1 + len(whole)/700 {
		b := bytes.Clone(whole)
		b[at] ^= 1 << (at % 8)
		if err := open(b); !errors.Is(err, ErrPreserve) {
			t.Fatalf("byte %d changed: %v", at, err)
		}
	}
	for n := 0; n < len(whole); n += 512 {
		if err := open(whole[:n]); !errors.Is(err, ErrPreserve) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if err := open(append(bytes.Clone(whole), make([]byte, 512)...)); !errors.Is(err, ErrPreserve) {
		t.Fatalf("lengthened: %v", err)
	}
}

// hostileArchive is one with our head and end around these entries.
func hostileArchive(tb testing.TB, entries ...*tar.Header) []byte {
	tb.Helper()
	var out bytes.Buffer
	a, err := newArchiveWriter(&out, Host{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, h := range entries {
		h.Format, h.ModTime = tar.FormatPAX, time.Unix(0, 0)
		if h.Typeflag == tar.TypeReg {
			h.PAXRecords = map[string]string{paxHash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
		}
		a.account(h)
		if err := a.tw.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
	}
	if err := a.finish(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestAttack_RestoreArchiveEntries(t *testing.T) {
	file := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	for what, entries := range map[string][]*tar.Header{
		"..":            {file("etc/../../x")},
		"absolute":      {file("/etc/x")},
		"dot":           {file("./x")},
		"empty part":    {file("etc//x")},
		"twice":         {file("etc/x"), file("etc/x")},
		"unsorted":      {file("etc/y"), file("etc/x")},
		"hard link":     {{Typeflag: tar.TypeLink, Name: "etc/x", Linkname: "etc/shadow"}},
		"device":        {{Typeflag: tar.TypeChar, Name: "etc/x", Devmajor: 1, Devminor: 3}},
		"FIFO":          {{Typeflag: tar.TypeFifo, Name: "etc/x"}},
		"below a file":  {file("etc/x"), file("etc/x/y")},
		"below a link":  {{Typeflag: tar.TypeSymlink, Name: "etc/x", Linkname: "/"}, file("etc/x/y")},
		"negative uid":  {{Typeflag: tar.TypeReg, Name: "etc/x", Uid: -1}},
		"label":         {{Typeflag: tar.TypeDir, Name: "etc/", PAXRecords: map[string]string{"SCHILY.xattr.security.selinux": "x"}}},
		"unknown PAX":   {{Typeflag: tar.TypeDir, Name: "etc/", PAXRecords: map[string]string{"VENDOR.x": "x"}}},
		"name of ours":  {file(archiveHead)},
		"mode too wide": {{Typeflag: tar.TypeReg, Name: "etc/x", Mode: 0o100644}},
	} {
		b := hostileArchive(t, entries...)
		if _, err := ReadArchive(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrPreserve) {
			t.Errorf("%s: %v", what, err)
		}
	}
	b := hostileArchive(t, file("etc/x"), file("etc/y"))
	if _, err := ReadArchive(bytes.NewReader(b), int64(len(b))); err != nil {
		t.Errorf("the control: %v", err)
	}
}

// FuzzArchive: what is read, encodes to the same bytes again.
func FuzzArchive(f *testing.F) {
	old, new := elTrees(f)
	f.Add(capture(f, old, new))
	f.Add(hostileArchive(f, &tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/x", Linkname: "/"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := readArchive(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		var again bytes.Buffer
		a, err := newArchiveWriter(&again, tree.host)
		if err != nil {
			t.Fatal(err)
		}
		err = walk(tree, ".", func(e Entry) error {
			if e.Kind == KindFile {
				r, err := tree.Open(e.Path)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, r)
				return err
			}
			return nil
		})
		if err != nil || len(b)%512 != 0 {
			t.Fatal(err, len(b), a)
		}
	})
}
