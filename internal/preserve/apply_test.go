package preserve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// elTrees are the systems of testdata/el7-el9.txtar.
func elTrees(tb testing.TB) (old, new *memTree) {
	tb.Helper()
	trees, _ := readFixture(tb, "el7-el9.txtar")
	return trees["old"], trees["new"]
}

func mustPlan(tb testing.TB, old, new Tree) *Plan {
	tb.Helper()
	p, err := NewPlan(context.Background(), old, new, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// restored returns the new system after an undisturbed restore.
func restored(tb testing.TB, old, new Tree) *crashFS {
	tb.Helper()
	c := newCrashFS(tb, new)
	if err := mustPlan(tb, old, c).apply(context.Background(), c); err != nil {
		tb.Fatal(err)
	}
	return c
}

// picture renders a tree for comparison: everything but the journal, what a
// cut may leave for the next run, and empty directories.
func picture(tb testing.TB, t Tree) string {
	tb.Helper()
	lines := map[string]string{}
	full := map[string]bool{}
	err := walk(t, ".", func(e Entry) error {
		if e.Path == journalFile || e.Path == "." {
			return nil
		}
		print, err := fingerprint(t, e)
		if err != nil {
			return err
		}
		attrs, err := t.Xattrs(e.Path)
		if err != nil {
			return err
		}
		s := fmt.Sprintf("%s %s %v %d:%d", e.Path, print, e.Mode, e.UID, e.GID)
		for _, k := range slices.Sorted(maps.Keys(attrs)) {
			s += fmt.Sprintf(" %s=%q", k, attrs[k])
		}
		lines[e.Path] = s
		if e.Kind != KindDir {
			for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
				full[dir] = true
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		if e, err := t.Lstat(name); err == nil && (e.Kind != KindDir || full[name]) {
			out.WriteString(lines[name] + "\n")
		}
	}
	return out.String()
}

// samePicture compares, and shows the first difference.
func samePicture(tb testing.TB, what string, got, want Tree) {
	tb.Helper()
	g, w := strings.Split(picture(tb, got), "\n"), strings.Split(picture(tb, want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			at := func(l []string) string {
				if i < len(l) {
					return l[i]
				}
				return "(end)"
			}
			tb.Fatalf("%s:\n got %s\nwant %s", what, at(g), at(w))
		}
	}
}

// TestCut cuts power at every step of a restore, with everything that a disk
// may make of it, and restores again. The result is always the complete set,
// and the first run never said that it was done.
func TestCut(t *testing.T) {
	t.Parallel()
	old, new := elTrees(t)
	want := restored(t, old, new)
	first := mustPlan(t, old, new) // a plan changes nothing, so it serves them all
	points := 0
	for cut := range want.steps {
		policies := []settle{settleNothing, settleEverything}
		if cut%3 == 0 {
			policies = append(policies, settleSome(uint64(cut)))
		}
		for i, keep := range policies {
			c := newCrashFS(t, new)
			c.cutAt = cut
			if err := first.apply(context.Background(), c); !errors.Is(err, ErrPreserve) {
				t.Fatalf("cut at step %d: %v", cut, err)
			}
			after := c.crash(keep)
			if err := mustPlan(t, old, after).apply(context.Background(), after); err != nil {
				t.Fatalf("cut at step %d, settle %d: %v", cut, i, err)
			}
			samePicture(t, fmt.Sprintf("cut at step %d, settle %d", cut, i), after, want)
			samePicture(t, "durable", after.crash(settleNothing), want)
			points++
		}
	}
	t.Logf("crash: %d points, 0 violations (%d steps; all lost, all landed, random)", points, want.steps)
}

// TestCutInRecovery cuts again and again.
func TestCutInRecovery(t *testing.T) {
	t.Parallel()
	old, new := elTrees(t)
	want := restored(t, old, new)
	const seeds = 60
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 2))
		c := newCrashFS(t, new)
		for range 1 + rng.IntN(5) {
			c.cutAt = rng.IntN(want.steps)
			if err := mustPlan(t, old, c).apply(context.Background(), c); err == nil {
				break
			}
			c = c.crash(settleSome(seed))
		}
		c.cutAt = -1
		if err := mustPlan(t, old, c).apply(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		samePicture(t, fmt.Sprintf("seed %d", seed), c, want)
	}
	t.Logf("crash: %d points, 0 violations (one to five cuts in a row)", seeds)
}

// TestFault fails each step, once or from then on: an error, a full disk, one
// that went read-only. The restore says so, and both the same plan and a new
// one finish the job when the disk works again.
func TestFault(t *testing.T) {
	t.Parallel()
	old, new := elTrees(t)
	want := restored(t, old, new)
	first := mustPlan(t, old, new)
	for _, fault := range []struct {
		errno  unix.Errno
		sticky bool
	}{{unix.EIO, false}, {unix.EIO, true}, {unix.ENOSPC, true}, {unix.EROFS, true}} {
		t.Run(fmt.Sprintf("%v, from then on: %v", fault.errno, fault.sticky), func(t *testing.T) {
			t.Parallel()
			for at := range want.steps {
				c := newCrashFS(t, new)
				c.failAt, c.errno, c.sticky = at, fault.errno, fault.sticky
				p := first
				if err := p.apply(context.Background(), c); !errors.Is(err, ErrPreserve) || !errors.Is(err, fault.errno) {
					t.Fatalf("at step %d: %v", at, err)
				}
				c.failAt = -1
				if at%2 == 0 {
					p = mustPlan(t, old, c)
				}
				if err := p.apply(context.Background(), c); err != nil {
					t.Fatalf("after a fault at step %d: %v", at, err)
				}
				samePicture(t, fmt.Sprintf("fault at step %d", at), c, want)
			}
		})
	}
}

// TestOutdatedRestore restores, complete or cut, and then the old system
// changes: the next restore leaves nothing of the first behind.
func TestOutdatedRestore(t *testing.T) {
	t.Parallel()
	old, new := elTrees(t)
	later := elLater(t)
	want := restored(t, later, new)
	first := mustPlan(t, old, new)
	steps := restored(t, old, new).steps
	for cut := 0; cut <= steps; cut += 3 {
		c := newCrashFS(t, new)
		c.cutAt = cut
		_ = first.apply(context.Background(), c)
		for i, keep := range []settle{settleNothing, settleEverything, settleSome(uint64(cut))} {
			after := c.crash(keep)
			if err := mustPlan(t, later, after).apply(context.Background(), after); err != nil {
				t.Fatal(err)
			}
			samePicture(t, fmt.Sprintf("cut at step %d, settle %d", cut, i), after, want)
		}
	}
}

// elLater is the old system after alice has left, bob's key was revoked,
// backup lost its password, and a file was deleted.
func elLater(tb testing.TB) *memTree {
	tb.Helper()
	old, _ := elTrees(tb)
	later := newMemTree()
	for _, name := range slices.Sorted(maps.Keys(old.nodes)) {
		n := *old.nodes[name]
		switch name {
		case "etc/passwd", "etc/shadow", "etc/group":
			b, err := ReadFile(old, name, maxConfig)
			if err != nil {
				tb.Fatal(err)
			}
			var kept []string
			for line := range strings.Lines(string(b)) {
				if !strings.HasPrefix(line, "alice:") {
					kept = append(kept, strings.Replace(line, "$6$backup$y8W0m1l9uBq2d3E4", "!!", 1))
				}
			}
			text := strings.Join(kept, "")
			n.open, n.entry.Size = inMemory(text), int64(len(text))
		case "home/bob/.ssh/authorized_keys", "etc/acme/site.conf", "etc/acme/current":
			continue
		}
		if strings.HasPrefix(name, "home/alice") || name == "." {
			continue
		}
		if err := later.put(&n); err != nil {
			tb.Fatal(err)
		}
	}
	later.seal()
	return later
}

func TestApplyTwice(t *testing.T) {
	old, new := elTrees(t)
	want := restored(t, old, new)
	c := newCrashFS(t, new)
	for range 3 {
		if err := mustPlan(t, old, c).apply(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		samePicture(t, "again", c, want)
	}
}

func TestApplyCancelled(t *testing.T) {
	old, new := elTrees(t)
	ctx, cancel := context.WithCancel(context.Background())
	p := mustPlan(t, old, new)
	cancel()
	if err := p.apply(ctx, newCrashFS(t, new)); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrPreserve) {
		t.Fatal(err)
	}
}
