package preserve

import (
	"slices"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"etc/x", "etc/x", true},
		{"etc/x", "etc/xy", false},
		{"etc/x", "etc/x/y", false},
		{"etc/*", "etc/x", true},
		{"etc/*", "etc/x/y", false},
		{"etc/*.conf", "etc/a.conf", true},
		{"etc/[a-c]?", "etc/b1", true},
		{"etc/[a-c]?", "etc/d1", false},
		{"etc/**", "etc", true},
		{"etc/**", "etc/a/b/c", true},
		{"etc/**", "etcetera", false},
		{"etc/**/x", "etc/x", true},
		{"etc/**/x", "etc/a/b/x", true},
		{"etc/**/x", "etc/a/b/y", false},
		{"**/*.rpmsave", "etc/a/b.rpmsave", true},
		{"**/*.rpmsave", "b.rpmsave", true},
		{"a/**/b/**/c", "a/x/b/y/z/c", true},
		{"a/**/**/c", "a/c", true},
		{`a/\*`, "a/*", true},
		{`a/\*`, "a/b", false},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

// TestFind: what Find names is what Match matches.
func TestFind(t *testing.T) {
	trees, _ := parseFixture(t, `
-- t/etc/a.conf --
-- t/etc/d/b.conf --
-- t/etc/d/e/c.conf --
-- t/etc/link -> d --
-- t/etc/star* --
-- t/etc/init.d -> rc.d/init.d --
-- t/etc/rc.d/init.d/net --
-- t/home/u/ 0755 1000:1000 --
-- t/home/u/l -> ../../etc/d 1000:1000 --
-- t/opt/file --
`)
	tree := trees["t"]
	all := []string{}
	for name := range tree.nodes {
		if name != "." {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	for _, pattern := range []string{"etc/*.conf", "etc/**", "etc/**/*.conf", "etc/d/**", "**/*.conf", "etc/*/b.conf", `etc/star\*`, "opt/file/**", "opt/file/*", "none/**", "etc/**/c.conf", "*/*"} {
		found, err := Find(tree, pattern)
		if err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		var got, want []string
		for _, e := range found {
			got = append(got, e.Path)
		}
		for _, name := range all {
			if Match(pattern, name) {
				want = append(want, name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
	for pattern, want := range map[string]string{"etc/init.d/net": "etc/rc.d/init.d/net", "etc/link/b.conf": "etc/d/b.conf", "home/u/l/b.conf": ""} {
		found, err := Find(tree, pattern)
		if err != nil || len(found) == 0 && want != "" || len(found) > 0 && found[0].Path != want {
			t.Errorf("%s: %v, %v", pattern, found, err)
		}
	}
}

func TestResolve(t *testing.T) {
	trees, _ := parseFixture(t, `
-- t/a/file --
-- t/rel -> a/file --
-- t/abs -> /a/file --
-- t/up -> ../../../a/file --
-- t/dir -> a --
-- t/chain -> dir/../rel --
-- t/loop1 -> loop2 --
-- t/loop2 -> loop1 --
-- t/dangling -> nothing --
`)
	for name, want := range map[string]string{
		"rel": "a/file", "abs": "a/file", "up": "a/file", "dir/file": "a/file", "chain": "a/file", "a/file": "a/file", ".": ".", "dir": "a",
		"loop1": "", "dangling": "", "missing": "",
	} {
		got, err := Resolve(trees["t"], name)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}
