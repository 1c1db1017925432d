package preserve

import (
	"strings"
	"testing"
)

// threeWays are all ways in which a file can be, on the old system against
// its image and in the new one: "-" is not there.
var threeWays = []struct {
	was, is, new string // the old image's, the old system's, the new image's
	want         string // in the new system; "-" is not there
}{
	{"1", "1", "1", "1"},
	{"1", "1", "2", "2"}, // a default that was never touched is the new one
	{"1", "1", "-", "-"}, // or goes with the image
	{"1", "c", "1", "c"}, // a change is carried
	{"1", "c", "2", "c"},
	{"1", "c", "-", "c"},
	{"1", "-", "1", "-"}, // a deletion, too
	{"1", "-", "2", "-"},
	{"1", "-", "-", "-"},
	{"-", "c", "-", "c"}, // what the customer added
	{"-", "c", "2", "c"},
	{"-", "-", "2", "2"}, // what the new image added
	{"-", "-", "-", "-"},
}

func TestWhenChanged(t *testing.T) {
	for _, c := range threeWays {
		old, image, new := newMemTree(), newMemTree(), newMemTree()
		put := func(tree *memTree, name, content string) {
			t.Helper()
			if content == "-" {
				return
			}
			if err := tree.put(&memNode{entry: Entry{Path: name, Kind: KindFile, Mode: 0o644, Size: int64(len(content))}, open: inMemory(content)}); err != nil {
				t.Fatal(err)
			}
		}
		put(image, "etc/acme/f", c.was)
		list, err := Defaults(image, []string{"/etc/acme/**"})
		if err != nil {
			t.Fatal(err)
		}
		put(old, defaultsFile, string(list))
		put(old, "etc/acme/f", c.is)
		put(old, "etc/passwd", "root:x:0:0::/root:/bin/bash\n")
		put(old, "etc/abupdate/preserve.d/x.toml", "[[path]]\npath = \"/etc/acme/**\"\nwhen = \"changed\"\n")
		put(new, "etc/acme/f", c.new)
		got := "-"
		if b, err := ReadFile(restored(t, old, new), "etc/acme/f", 10); err == nil {
			got = string(b)
		}
		if got != c.want {
			t.Errorf("old image %s, old system %s, new image %s: %s, want %s", c.was, c.is, c.new, got, c.want)
		}
	}
}

// TestWhenChangedWithoutList: the old image lists nothing.
func TestWhenChangedWithoutList(t *testing.T) {
	trees, _ := parseFixture(t, `
-- old/etc/passwd --
root:x:0:0::/root:/bin/bash
-- old/etc/abupdate/preserve.d/site.toml --
[[path]]
path = "/etc/acme/**"
when = "changed"
-- old/etc/acme/same --
1
-- old/etc/acme/other --
1
-- old/etc/acme/own --
1
-- old/etc/acme/link -> a --
-- new/etc/acme/same --
1
-- new/etc/acme/other --
2
-- new/etc/acme/link -> b --
-- new/etc/acme/mine --
2
`)
	p := mustPlan(t, trees["old"], trees["new"])
	planned := map[string]bool{}
	for _, op := range p.Ops {
		planned[op.Path] = true
	}
	if planned["etc/acme/same"] || !planned["etc/acme/other"] || !planned["etc/acme/own"] || !planned["etc/acme/link"] || planned["etc/acme/mine"] {
		t.Errorf("%v", planned)
	}
	if !noted(p, Kept, "/etc/acme/same", "") || !noted(p, Warning, "/etc/acme/other", "nothing tells whether") {
		t.Errorf("%v", p.Notes)
	}
}

// TestRollbackTarget: the new system has run before. What it had then, and
// the present system does not, goes.
func TestRollbackTarget(t *testing.T) {
	trees, _ := parseFixture(t, `
-- old/etc/passwd --
root:x:0:0::/root:/bin/bash
-- old/usr/share/abupdate/defaults.json --
{"format":1,"covers":["/etc/acme/**"],"files":{"/etc/acme/f":"sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"}}
-- old/etc/abupdate/preserve.d/site.toml --
[[path]]
path = "/etc/acme/**"
when = "changed"
-- old/etc/acme/f --
1
-- new/usr/share/abupdate/defaults.json --
{"format":1,"covers":["/etc/acme/**"],"files":{"/etc/acme/f":"sha256:53c234e5e8472b6ac51c1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3","/etc/acme/image":"sha256:x"}}
-- new/etc/acme/f --
the customer's of last year
-- new/etc/acme/image --
3
-- new/etc/acme/last-year --
4
`)
	c := restored(t, trees["old"], trees["new"])
	if b, err := ReadFile(c, "etc/acme/f", 100); err != nil || string(b) != "1\n" {
		t.Errorf("%q, %v: the present system runs with its default", b, err)
	}
	if Exists(c, "etc/acme/last-year") || !Exists(c, "etc/acme/image") {
		t.Error("what is the image's stays, what was the customer's goes")
	}
}

func TestMissing(t *testing.T) {
	for missing, want := range map[string]string{"ok": "", "warn": "there is none", "fail": "says that there must be"} {
		trees, _ := parseFixture(t, "-- old/etc/passwd --\nroot:x:0:0::/root:/bin/bash\n-- old/etc/abupdate/preserve.d/site.toml --\n[[path]]\npath = \"/etc/acme/*\"\nmissing = \""+missing+"\"\n")
		p, err := planAll(trees["old"], newMemTree())
		switch missing {
		case "fail":
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
		default:
			if err != nil || noted(p, Warning, "/etc/acme/*", "there is none") != (missing == "warn") {
				t.Errorf("%s: %v, %v", missing, p, err)
			}
		}
	}
}

func TestBadDefaults(t *testing.T) {
	for _, text := range []string{"", "{", `{"format":2}`, `{"format":1,"cover":[]}`, `{"format":1,"covers":["/.."]}`, "\x00"} {
		old, _ := elTrees(t)
		if err := old.put(&memNode{entry: Entry{Path: defaultsFile, Kind: KindFile}, open: inMemory(text)}); err != nil {
			t.Fatal(err)
		}
		if _, err := planAll(old, newMemTree()); err == nil || !strings.Contains(err.Error(), "defaults") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
