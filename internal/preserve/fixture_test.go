package preserve

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Fixtures are txtar files below testdata. A file's name in one is
//
//	TREE/PATH [-> TARGET] [MODE] [UID:GID]
//
// as in "old/etc/shadow 0000 0:0", "new/etc/localtime -> ../usr/share/zoneinfo/UTC",
// "old/home/u/ 0700 1000:1000" (a slash at the end makes a directory). Files
// are 0644 and root's unless they say otherwise.

// readFixture returns the trees of testdata/name by their names, and the text
// of entries whose first element is "want", by the rest of their names.
func readFixture(tb testing.TB, name string) (trees map[string]*memTree, want map[string]string) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return parseFixture(tb, string(b))
}

// parseFixture is readFixture for a text.
func parseFixture(tb testing.TB, text string) (trees map[string]*memTree, want map[string]string) {
	tb.Helper()
	trees, want = map[string]*memTree{}, map[string]string{}
	for _, f := range txtar.Parse([]byte(text)).Files {
		root, rest, _ := strings.Cut(f.Name, "/")
		if root == "want" {
			want[rest] = string(f.Data)
			continue
		}
		if trees[root] == nil {
			trees[root] = newMemTree()
		}
		if err := trees[root].put(fixtureNode(tb, rest, string(f.Data))); err != nil {
			tb.Fatalf("%s: %v", f.Name, err)
		}
	}
	for _, t := range trees {
		t.seal()
	}
	return trees, want
}

func fixtureNode(tb testing.TB, spec, data string) *memNode {
	tb.Helper()
	words := strings.Fields(spec)
	n := &memNode{entry: Entry{Path: strings.TrimSuffix(words[0], "/"), Kind: KindFile, Mode: 0o644, Links: 1}}
	if strings.HasSuffix(words[0], "/") {
		n.entry.Kind, n.entry.Mode = KindDir, 0o755
	}
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "->":
			i++
			n.entry.Kind, n.entry.Mode, n.target = KindSymlink, 0o777, words[i]
		case strings.Contains(w, ":"):
			u, g, _ := strings.Cut(w, ":")
			n.entry.UID, n.entry.GID = atoi(tb, u, 10), atoi(tb, g, 10)
		default:
			m := fs.FileMode(atoi(tb, w, 8))
			n.entry.Mode = m & fs.ModePerm
			if m&0o4000 != 0 {
				n.entry.Mode |= fs.ModeSetuid
			}
			if m&0o2000 != 0 {
				n.entry.Mode |= fs.ModeSetgid
			}
		}
	}
	n.entry.Size = int64(len(data))
	n.open = inMemory(data)
	return n
}

func atoi(tb testing.TB, s string, base int) int {
	tb.Helper()
	n, err := strconv.ParseInt(s, base, 32)
	if err != nil {
		tb.Fatal(err)
	}
	return int(n)
}

// runHandler plans with one handler only.
func runHandler(h Handler, old, new Tree) (*Plan, error) {
	return runHandlerOn(Host{}, h, old, new)
}

// runHandlerOn is runHandler on a machine that is known.
func runHandlerOn(host Host, h Handler, old, new Tree) (*Plan, error) {
	p := newPlanner(old, new, &Policy{})
	p.host = host
	p.handler = h.Name()
	if err := h.Plan(old, new, p); err != nil {
		return nil, err
	}
	return p.finish(&journal{}, new)
}

// written returns the content that a plan writes to path.
func written(tb testing.TB, p *Plan, path string) string {
	tb.Helper()
	for _, op := range p.Ops {
		if op.Path == path && op.Kind == OpWrite {
			return string(op.Data)
		}
	}
	tb.Fatalf("/%s is not written", path)
	return ""
}

// planAll is NewPlan with the policy of the trees.
func planAll(old, new Tree) (*Plan, error) {
	return NewPlan(context.Background(), old, new, nil)
}
