package preserve

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// A fixture of TestNetwork is a txtar file in testdata/network. Its comment
// says what it is about and, on lines of their own, what both systems are
// ("old el7-scripts", "new el9", see netSystems), what interfaces the machine
// has ("live eth0 52:54:00:00:00:01 virtio_net"; none: not known), and "as-is"
// when the files must be carried unchanged. Further entries:
//
//	want/state    the effective state, before and after
//	want/refused  what the reason of the refusal must contain
//	want/note     lines that must each be in some note
//	want/args     kernel arguments
//	want/skip     the states are not compared
//	want/new/…    a file's content in the new system; want/gone/… one that is not there
type netFixture struct {
	old, new Tree
	live     []Link
	asIs     bool
	want     map[string]string
}

// netSystems are empty files that make a tree a system of that kind.
var netSystems = map[string][]string{
	"el7":         {"ID=centos 7", nmUnit, wantsDir + "NetworkManager.service", "usr/lib64/NetworkManager/1.18.8-2.el7_9/" + ifcfgPlugin, ifupEth},
	"el7-scripts": {"ID=centos 7", ifupEth},
	"el7-nm":      {"ID=centos 7", nmUnit, wantsDir + "NetworkManager.service", "usr/lib64/NetworkManager/1.18.8-2.el7_9/" + ifcfgPlugin},
	"el7-rules":   {"ID=centos 7", nmUnit, wantsDir + "NetworkManager.service", "usr/lib64/NetworkManager/1.18.8-2.el7_9/" + ifcfgPlugin, ifupEth, dispatcherMarks[0]},
	"el8":         {"ID=rocky 8", nmUnit, wantsDir + "NetworkManager.service", "usr/lib64/NetworkManager/1.40.16-1.el8/" + ifcfgPlugin},
	"el8-scripts": {"ID=rocky 8", ifupEth},
	"el9":         {"ID=rocky 9", nmUnit, wantsDir + "NetworkManager.service", "usr/lib64/NetworkManager/1.46.0-1.el9/" + ifcfgPlugin, "usr/lib/NetworkManager/conf.d/00-server.conf"},
	"el9-desktop": {"ID=rocky 9", nmUnit, wantsDir + "NetworkManager.service"},
	"debian":      {"ID=debian 12", "usr/lib/systemd/system/networking.service", "etc/network/interfaces"},
	"networkd":    {"ID=centos 7", networkdUnit, wantsDir + "systemd-networkd.service"},
	"bare":        {"ID=centos 7"},
	"nothing":     {"ID=rocky 9"},
}

func parseNetFixture(tb testing.TB, text string) *netFixture {
	tb.Helper()
	a := txtar.Parse([]byte(text))
	trees, want := parseFixture(tb, text)
	f := &netFixture{want: want}
	systems := map[string]string{}
	for line := range strings.Lines(string(a.Comment)) {
		w := strings.Fields(line)
		switch {
		case len(w) == 2 && (w[0] == "old" || w[0] == "new"):
			systems[w[0]] = w[1]
		case len(w) >= 3 && w[0] == "live":
			f.live = append(f.live, Link{Name: w[1], MAC: w[2]})
		case len(w) == 1 && w[0] == "as-is":
			f.asIs = true
		}
	}
	build := func(side string) Tree {
		t := trees[side]
		if t == nil {
			t = newMemTree()
		}
		list, ok := netSystems[systems[side]]
		if !ok {
			tb.Fatalf("no such system: %s %q", side, systems[side])
		}
		for _, name := range list {
			putSystemFile(tb, t, name)
		}
		t.seal()
		return t
	}
	f.old, f.new = build("old"), build("new")
	return f
}

func putSystemFile(tb testing.TB, t *memTree, name string) {
	tb.Helper()
	content := ""
	if id, ok := strings.CutPrefix(name, "ID="); ok {
		release, version, _ := strings.Cut(id, " ")
		name, content = "etc/os-release", fmt.Sprintf("ID=%q\nVERSION_ID=%q\n", release, version)
	}
	if strings.HasSuffix(name, "00-server.conf") {
		content = "[main]\nno-auto-default=*\n"
	}
	if t.nodes[name] != nil {
		return
	}
	if err := t.put(fixtureNode(tb, name, content)); err != nil {
		tb.Fatal(err)
	}
}

// madeUUID is one that this package made: version 8.
var madeUUID = regexp.MustCompile(`uuid=[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n`)

func TestNetwork(t *testing.T) {
	files, err := filepath.Glob("testdata/network/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 60 {
		t.Errorf("%d fixtures, want at least 60", len(files))
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f := parseNetFixture(t, string(b))
			f.check(t)
		})
	}
}

func (f *netFixture) check(t *testing.T) {
	plan, err := runHandlerOn(Host{Links: f.live}, network{}, f.old, f.new)
	if reason, ok := f.want["refused"]; ok {
		if err == nil {
			t.Fatalf("not refused; want %s", reason)
		}
		if !errors.Is(err, ErrPreserve) || !strings.Contains(err.Error(), strings.TrimSpace(reason)) {
			t.Fatalf("refused with %q, want %q", err, strings.TrimSpace(reason))
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	f.checkState(t, plan)
	f.checkFiles(t, plan)
	if want, ok := f.want["args"]; ok && plan.KernelArgs != strings.TrimSpace(want) {
		t.Errorf("kernel arguments %q, want %q", plan.KernelArgs, strings.TrimSpace(want))
	}
	for line := range strings.Lines(f.want["note"]) {
		if !slices.ContainsFunc(plan.Notes, func(n Note) bool {
			return strings.Contains(n.Kind.String()+" "+n.Subject+" "+n.Detail, strings.TrimSpace(line))
		}) {
			t.Errorf("no note says %q:\n%v", strings.TrimSpace(line), plan.Notes)
		}
	}
}

// checkState reads both sides once more: the plan's own comparison could have
// looked at something else than what it wrote.
func (f *netFixture) checkState(t *testing.T, plan *Plan) {
	before := stateOf(t, f.old, nil, f.live)
	after := stateOf(t, f.new, plan, f.live)
	want, ok := f.want["state"]
	if _, skip := f.want["skip"]; skip {
		return
	}
	if !ok {
		if d := before.difference(after); d != "" && !identityOnly(before, after) {
			t.Errorf("the new system would come up %s", d)
		}
		return
	}
	if got := after.text(); got != want {
		t.Errorf("after:\n%s\nwant:\n%s", got, want)
	}
	if got := before.text(); got != want && !identityOnly(before, after) {
		t.Errorf("before:\n%s\nwant:\n%s", got, want)
	}
}

// identityOnly tells whether the states differ in the DHCP identity only,
// which comes from leases on one side and from files on the other.
func identityOnly(before, after *netState) bool {
	strip := func(s *netState) string {
		var kept []string
		for line := range strings.Lines(s.text()) {
			if !strings.Contains(line, " client-id ") && !strings.Contains(line, " duid ") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	return strip(before) == strip(after)
}

func stateOf(tb testing.TB, tree Tree, plan *Plan, live []Link) *netState {
	tb.Helper()
	files, err := loadNetFiles(tree)
	if err != nil {
		tb.Fatal(err)
	}
	if plan != nil {
		for _, op := range plan.Ops {
			switch op.Kind {
			case OpWrite:
				files[op.Path] = netFile{content: op.Data, mode: op.Mode, uid: op.UID, readable: true}
			case OpRemove:
				delete(files, op.Path)
			case OpMkdir, OpSymlink, OpOwner:
			}
		}
	}
	sys, err := detectNet(tree, files)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := readState(files, sys, live, func(NoteKind, string, string, ...any) {})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (f *netFixture) checkFiles(t *testing.T, plan *Plan) {
	ops := map[string]Op{}
	for _, op := range plan.Ops {
		ops[op.Path] = op
		if path.Dir(op.Path) == keyfileDir && op.Kind == OpWrite && (op.Mode != 0o600 || op.UID != 0) {
			t.Errorf("/%s has mode %o and owner %d: NetworkManager would ignore it", op.Path, op.Mode, op.UID)
		}
	}
	for name, want := range f.want {
		if file, ok := strings.CutPrefix(name, "new/"); ok {
			op := ops[file]
			if strings.Contains(want, "\nuuid=UUID\n") {
				op.Data = madeUUID.ReplaceAll(op.Data, []byte("uuid=UUID\n"))
			}
			if op.Kind != OpWrite || string(op.Data) != want {
				t.Errorf("/%s:\n%s\nwant:\n%s", file, op.Data, want)
			}
		}
		if file, ok := strings.CutPrefix(name, "gone/"); ok && ops[file].Kind != OpRemove {
			t.Errorf("/%s is not removed", file)
		}
	}
	if !f.asIs {
		return
	}
	files, err := loadNetFiles(f.old)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(ifcfgFiles(files), keyfiles(files)...) {
		if op := ops[name]; op.Kind != OpWrite || string(op.Data) != string(files.data(name)) {
			t.Errorf("/%s is not carried as it is", name)
		}
	}
}
