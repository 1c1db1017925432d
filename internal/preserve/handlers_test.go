package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestHandlers runs testdata/handlers/HANDLER/*.txtar: an old and a new
// system, and what the handler must make of them. Entries below want/:
//
//	want/PATH [MODE] [UID:GID]   this file is written
//	want/PATH -> TARGET          this link is made
//	want/PATH removed            it is gone
//	want/PATH untouched          it is not in the plan
//	want/notes                   each line is part of a note "kind subject: detail"
//	want/refused                 each line is part of the refusal
//	want/kernel-args             the kernel arguments
func TestHandlers(t *testing.T) {
	files, err := filepath.Glob("testdata/handlers/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		seen[name]++
		t.Run(name+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			testHandler(t, name, file)
		})
	}
	for _, h := range handlers() {
		if seen[h.Name()] < 3 && h.Name() != "network" && h.Name() != "ca-trust" { // they have tests of their own
			t.Errorf("%s: %d cases", h.Name(), seen[h.Name()])
		}
	}
}

func testHandler(t *testing.T, name, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	trees, want := parseFixture(t, string(b))
	for _, tree := range []string{"old", "new"} {
		if trees[tree] == nil {
			trees[tree] = newMemTree()
		}
	}
	i := slices.IndexFunc(handlers(), func(h Handler) bool { return h.Name() == name })
	if i < 0 {
		t.Fatalf("no handler %q", name)
	}
	p, err := planOne(handlers()[i], trees["old"], trees["new"])
	if refused, ok := want["refused"]; ok {
		for line := range strings.Lines(refused) {
			if !errors.Is(err, ErrPreserve) || !strings.Contains(err.Error(), strings.TrimSpace(line)) {
				t.Fatalf("%v: want a refusal with %q", err, line)
			}
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for spec, content := range want {
		switch spec {
		case "notes":
			checkNotes(t, p, content)
		case "kernel-args":
			if p.KernelArgs != strings.TrimSpace(content) {
				t.Errorf("kernel arguments %q, want %q", p.KernelArgs, content)
			}
		default:
			checkOp(t, p, spec, content)
		}
	}
}

// planOne plans with one handler, with the policy of the trees.
func planOne(h Handler, old, new Tree) (*Plan, error) {
	policy, err := LoadPolicy(old, new)
	if err != nil {
		return nil, err
	}
	p := newPlanner(old, new, policy)
	if p.host, err = policy.Host.complete(old); err != nil {
		return nil, err
	}
	if p.oldDefaults, err = readDefaults(old); err != nil {
		return nil, err
	}
	if p.newDefaults, err = readDefaults(new); err != nil {
		return nil, err
	}
	p.handler = h.Name()
	if err := h.Plan(old, new, p); err != nil {
		return nil, err
	}
	return p.finish(&journal{}, new)
}

func checkNotes(t *testing.T, p *Plan, want string) {
	t.Helper()
	var notes []string
	for _, n := range p.Notes {
		notes = append(notes, fmt.Sprintf("%s %s: %s", n.Kind, n.Subject, n.Detail))
	}
	for line := range strings.Lines(want) {
		line = strings.TrimSpace(line)
		if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, line) }) {
			t.Errorf("no note %q in\n%s", line, strings.Join(notes, "\n"))
		}
	}
}

func checkOp(t *testing.T, p *Plan, spec, content string) {
	t.Helper()
	words := strings.Fields(spec)
	i := slices.IndexFunc(p.Ops, func(op Op) bool { return op.Path == words[0] })
	if len(words) == 2 && words[1] == "untouched" {
		if i >= 0 {
			t.Errorf("/%s: %v: %q", words[0], p.Ops[i].Kind, p.Ops[i].Data)
		}
		return
	}
	if i < 0 {
		var paths []string
		for _, op := range p.Ops {
			paths = append(paths, op.Path)
		}
		t.Fatalf("/%s is not in the plan: %q, %v", words[0], paths, p.Notes)
	}
	op := p.Ops[i]
	switch {
	case len(words) == 2 && words[1] == "removed":
		if op.Kind != OpRemove {
			t.Errorf("/%s: %v", op.Path, op.Kind)
		}
		return
	case len(words) == 3 && words[1] == "->":
		if op.Kind != OpSymlink || op.Target != words[2] {
			t.Errorf("/%s: %v to %q", op.Path, op.Kind, op.Target)
		}
		return
	}
	if op.Kind != OpWrite || string(op.Data) != content {
		t.Errorf("/%s: %v\n%s\nwant\n%s", op.Path, op.Kind, op.Data, content)
	}
	for _, w := range words[1:] {
		if u, g, ok := strings.Cut(w, ":"); ok {
			if strconv.Itoa(op.UID) != u || strconv.Itoa(op.GID) != g {
				t.Errorf("/%s: owner %d:%d, want %s", op.Path, op.UID, op.GID, w)
			}
		} else if m, err := strconv.ParseUint(w, 8, 16); err != nil || op.Mode != fs.FileMode(m) {
			t.Errorf("/%s: mode %v, want %s", op.Path, op.Mode, w)
		}
	}
}
