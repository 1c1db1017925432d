package preserve

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomAccounts makes a system's database: humans and services with numbers
// that clash, names that clash, groups of both; shared lets two accounts have
// one number, as a customer may do, and an image does not.
func randomAccounts(rng *rand.Rand, shared bool) *memTree {
	var passwd, shadow, group strings.Builder
	names := []string{"alice", "bob", "carol", "dave", "acme", "nginx", "postgres", "chrony", "backup", "vendor"}
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	uids := map[int]bool{0: true}
	passwd.WriteString("root:x:0:0:root:/root:/bin/bash\n")
	shadow.WriteString("root:$6$r$" + strings.Repeat("r", 20) + ":1::::::\n")
	group.WriteString("root:x:0:\n")
	for _, name := range names[:rng.IntN(len(names))] {
		id := []int{500, 501, 990, 991, 992, 999, 1000, 1001, 1002}[rng.IntN(9)]
		if uids[id] && !(shared && rng.IntN(4) == 0) {
			continue
		}
		uids[id] = true
		shell := []string{"/bin/bash", "/sbin/nologin"}[rng.IntN(2)]
		hash := []string{"!!", "*", "", "$6$x$" + strings.Repeat(name[:1], 20), "!$6$x$" + strings.Repeat(name[:1], 20)}[rng.IntN(5)]
		fmt.Fprintf(&passwd, "%s:x:%d:%d::/home/%s:%s\n", name, id, []int{id, 100, 0}[rng.IntN(3)], name, shell)
		fmt.Fprintf(&shadow, "%s:%s:%d::::::\n", name, hash, rng.IntN(20000))
		members := ""
		for _, m := range names[:3] {
			if rng.IntN(2) == 0 {
				members += "," + m
			}
		}
		fmt.Fprintf(&group, "%s:x:%d:%s\n", name, id, strings.TrimPrefix(members, ","))
	}
	group.WriteString("users:x:100:\n")
	return accountTree(passwd.String(), shadow.String(), group.String())
}

func accountTree(passwd, shadow, group string) *memTree {
	t := newMemTree()
	for name, text := range map[string]string{"etc/passwd": passwd, "etc/shadow": shadow, "etc/group": group} {
		n := &memNode{entry: Entry{Path: name, Kind: KindFile, Mode: 0o644, Size: int64(len(text))}, open: inMemory(text)}
		if err := t.put(n); err != nil {
			panic(err)
		}
	}
	t.seal()
	return t
}

// asTree is the merged database as files.
func (m *merged) asTree() *memTree {
	var passwd, group strings.Builder
	for _, u := range m.users {
		passwd.WriteString(u.line())
	}
	for _, g := range m.groups {
		group.WriteString(g.line())
	}
	return accountTree(passwd.String(), m.shadowLines(), group.String())
}

func mustAccounts(t *testing.T, tree Tree) *accounts {
	t.Helper()
	a, err := readAccounts(tree)
	if err != nil || len(a.bad) > 0 {
		t.Fatal(err, a.bad)
	}
	return a
}

// TestMergeProperties checks on generated databases what must hold for all.
func TestMergeProperties(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		old, new := mustAccounts(t, randomAccounts(rng, true)), mustAccounts(t, randomAccounts(rng, false))
		m := mergeAccounts(old, new)
		result := mustAccounts(t, m.asTree()) // reads back without a complaint
		checkMerge(t, seed, old, new, m, result)
		// Once more into the result: nothing changes.
		again := mergeAccounts(old, result)
		if a, b := picture(t, again.asTree()), picture(t, m.asTree()); a != b {
			for _, name := range []string{"etc/passwd", "etc/shadow", "etc/group"} {
				x, _ := ReadFile(m.asTree(), name, maxConfig)
				y, _ := ReadFile(again.asTree(), name, maxConfig)
				if string(x) != string(y) {
					t.Fatalf("seed %d: merging again changes /%s:\n%s\nto\n%s", seed, name, x, y)
				}
			}
		}
	}
}

func checkMerge(t *testing.T, seed uint64, old, new *accounts, m *merged, result *accounts) {
	t.Helper()
	owner := map[int]string{} // number → where its accounts come from
	for _, u := range m.users {
		from := "new"
		if m.fromOld[u.name] {
			from = "old"
		}
		if have, ok := owner[u.uid]; ok && have != from && u.uid != 0 {
			t.Fatalf("seed %d: UID %d is of an old and of a new account", seed, u.uid)
		}
		owner[u.uid] = from
		if o := old.user(u.name); from == "old" && (old.human(o.uid) || o.uid == 0) && o.uid != u.uid {
			t.Fatalf("seed %d: the human %s was renumbered", seed, u.name)
		}
	}
	for _, o := range old.users {
		r := result.user(o.name)
		switch {
		case (old.human(o.uid) || o.uid == 0) && (new.user(o.name) == nil || o.uid != 0):
			if r == nil || result.shadow[o.name] != old.shadow[o.name] {
				t.Fatalf("seed %d: %s was lost or its password changed: %q, %q", seed, o.name, old.shadow[o.name], result.shadow[o.name])
			}
		case r != nil && r.uid == 0 && o.uid != 0:
			t.Fatalf("seed %d: %s became root", seed, o.name)
		}
	}
	for _, n := range new.users {
		r := result.user(n.name)
		if n.uid != 0 && !new.human(n.uid) && r == nil {
			t.Fatalf("seed %d: the new system's account %s was lost", seed, n.name)
		}
		if r != nil && r.uid == 0 && n.uid != 0 {
			t.Fatalf("seed %d: %s became root", seed, n.name)
		}
	}
	for from, to := range m.renumbered {
		if to != 0 && !slices.ContainsFunc(m.users, func(u user) bool { return u.uid == to }) {
			t.Fatalf("seed %d: files of %d go to nobody, %d", seed, from, to)
		}
	}
}

// TestRenumber: the files of a renumbered service go with it, setuid bits and
// capabilities included.
func TestRenumber(t *testing.T) {
	trees, _ := parseFixture(t, `
-- old/etc/passwd --
root:x:0:0:root:/root:/bin/bash
alice:x:1000:1000::/home/alice:/bin/bash
-- old/etc/group --
root:x:0:
alice:x:1000:
-- new/etc/passwd --
root:x:0:0:root:/root:/bin/bash
acme:x:1000:1000::/opt/acme:/sbin/nologin
-- new/etc/group --
root:x:0:
acme:x:1000:
-- new/opt/acme/ 0750 1000:1000 --
-- new/opt/acme/tool 4755 1000:0 --
-- new/opt/acme/link -> tool 1000:1000 --
-- new/opt/acme/mine 0644 0:1000 --
-- new/opt/other 0644 0:0 --
`)
	trees["new"].nodes["opt/acme/tool"].xattrs = map[string]string{xattrCapability: "cap"}
	c := restored(t, trees["old"], trees["new"])
	for name, want := range map[string]string{
		"opt/acme": "-rwxr-x--- 999:999", "opt/acme/tool": "urwxr-xr-x 999:0", "opt/acme/link": "-rwxrwxrwx 999:999",
		"opt/acme/mine": "-rw-r--r-- 0:999", "opt/other": "-rw-r--r-- 0:0",
	} {
		e, err := c.Lstat(name)
		if got := fmt.Sprintf("%v %d:%d", e.Mode, e.UID, e.GID); err != nil || got != want {
			t.Errorf("/%s: %s, %v; want %s", name, got, err, want)
		}
	}
	if attrs, err := c.Xattrs("opt/acme/tool"); err != nil || attrs[xattrCapability] != "cap" {
		t.Errorf("%v, %v: the capability is lost", attrs, err)
	}
}
