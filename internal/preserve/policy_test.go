package preserve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestDefaultPolicy(t *testing.T) {
	p := Default()
	if len(p.Rules) == 0 {
		t.Fatal("no rules")
	}
	for _, h := range handlers() {
		if !p.Enabled(h.Name()) {
			t.Errorf("%s is off", h.Name())
		}
	}
	if r := p.rule("etc/abupdate/config.toml"); r == nil || r.Drop {
		t.Error("the agent's own configuration is not carried")
	}
	if r := p.rule("etc/abupdate/x.rpmsave"); r == nil || !r.Drop {
		t.Error("rpm's leavings are carried")
	}
}

func TestPolicyRule(t *testing.T) {
	p := &Policy{}
	err := p.Add("/etc/abupdate/preserve.d/a.toml", `# a comment
[handlers]
firewall = false
ca-trust = true

[[path]]
path      = "/etc/acme/"
recursive = true
mode      = "0640"
missing   = "warn"
when      = "changed"
limit     = "2MiB"

[[drop]]
path   = '/etc/acme/cache/*'
reason = "made anew"
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Pattern: "etc/acme/**", Mode: 0o640, HasMode: true, Missing: MissingWarn, When: WhenChanged, Limit: 2 << 20, Origin: "/etc/abupdate/preserve.d/a.toml:6"},
		{Pattern: "etc/acme/cache/*", Drop: true, Missing: MissingOK, When: WhenAlways, Limit: defaultLimit, Reason: "made anew", Origin: "/etc/abupdate/preserve.d/a.toml:14"},
	}
	if !reflect.DeepEqual(p.Rules, want) {
		t.Errorf("%+v\nwant %+v", p.Rules, want)
	}
	if p.Enabled("firewall") || !p.Enabled("ca-trust") || !p.Enabled("users") {
		t.Errorf("%v", p.Handlers)
	}
}

func TestPolicyMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[[path]]\npath = \"/etc/a\"\n\n[[path]]\npath = \"/etc/b\"\nmising = \"ok\"\n\n[[path]]\npath = \"/etc/c\"\n", `p.toml:6: mising: unknown key: there are limit, missing, mode, path, recursive, when`},
		{"[[path]]\npath = \"/etc/a\"\nmissing = \"okay\"\n", `p.toml:3: missing: must be one of ["fail" "ok" "warn"]`},
		{"[[path]]\npath = \"/etc/a\"\nwhen = true\n", `p.toml:3: when: must be one of`},
		{"[[path]]\nrecursive = \"yes\"\npath = \"/etc/a\"\n", `p.toml:2: recursive: must be true or false`},
		{"[[path]]\npath = \"/etc/a\"\nmode = 640\n", `p.toml:3: mode: must be octal digits in quotes`},
		{"[[path]]\npath = \"/etc/a\"\nmode = \"0999\"\n", `p.toml:3: mode: "0999" must be octal`},
		{"[[path]]\npath = \"/etc/a\"\nlimit = 0\n", `p.toml:3: limit: must be a number of bytes`},
		{"[[path]]\npath = \"/etc/a\"\nlimit = \"many\"\n", `p.toml:3: limit:`},
		{"[[path]]\nmissing = \"ok\"\n", `p.toml:1: path is missing`},
		{"[[path]]\npath = \"/etc/a**\"\n", `p.toml:2: path: "/etc/a**": ** must stand alone`},
		{"[[path]]\npath = \"/etc/[a\"\n", `p.toml:2: path:`},
		{"[[path]]\npath = \"/etc/\\u0000\"\n", `p.toml:2`},
		{"[[path]]\npath = [\"/etc/a\"]\n", `p.toml:2: path: must be a path in quotes`},
		{"\n\n[path]\npath = \"/etc/a\"\n", `p.toml:3: write [[path]]`},
		{"[[drop]]\npath = \"/etc/a\"\nwhen = \"changed\"\n", `p.toml:3: when: unknown key: there are path, reason, recursive`},
		{"[[drop]]\npath = \"/etc/a\"\nreason = 1\n", `p.toml:3: reason: must be text`},
		{"[handlers]\nfirewal = false\n", `p.toml:2: firewal: unknown handler`},
		{"[handlers]\nssh = \"off\"\n", `p.toml:2: ssh: must be true or false`},
		{"[paths]\n", `p.toml:1: unknown section or key "paths"`},
		{"path = \"/etc/a\"\n", `p.toml:1: write [[path]]`},
		{"# fine\n[[path]]\npath = \"/etc/a\"\npath = \"/etc/b\"\n", `p.toml:4:`},
		{"[[path]\npath = \"/etc/a\"\n", `p.toml:`},
		{"[[path]]\npath = \"/etc/a\n", `p.toml:2:`},
		{"[[path]]\npath = \"/etc/a\"\n[path.b]\nx = 1\n", `p.toml:3:`},
		{"\xff", "not a text"},
		{strings.Repeat("#\n", maxPolicy), "not a text of at most"},
	} {
		p := &Policy{}
		err := p.Add("p.toml", c.text)
		if !errors.Is(err, ErrPreserve) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%.80q:\n got %v\nwant %s", c.text, err, c.want)
		}
		if len(p.Rules) > 0 || len(p.Handlers) > 0 {
			t.Errorf("%.80q: half of it was taken: %+v", c.text, p)
		}
	}
}

func TestPolicyLayers(t *testing.T) {
	trees, _ := parseFixture(t, `
-- old/etc/abupdate/preserve.d/10-site.toml --
[[path]]
path = "/etc/acme/keep-me"
[handlers]
cron = true
-- old/etc/abupdate/preserve.d/20-site.toml --
[[drop]]
path = "/etc/acme/site-drops"
-- old/etc/abupdate/preserve.d/README --
not a policy
-- old/etc/abupdate/preserve.d/.hidden.toml --
nonsense
-- old/usr/lib/abupdate/preserve.d/old-vendor.toml --
nonsense: the old image's policy is not asked
-- new/usr/lib/abupdate/preserve.d/vendor.toml --
[[path]]
path = "/etc/acme/**"
[[drop]]
path = "/etc/acme/keep-me"
[handlers]
cron = false
`)
	p, err := LoadPolicy(trees["old"], trees["new"])
	if err != nil {
		t.Fatal(err)
	}
	for path, carried := range map[string]bool{"etc/acme/x": true, "etc/acme/keep-me": true, "etc/acme/site-drops": false} {
		if r := p.rule(path); r == nil || r.Drop == carried {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if !p.Enabled("cron") {
		t.Error("the site does not win")
	}
}

// TestPolicyDocs: every policy file in the documentation is one.
func TestPolicyDocs(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "preserve.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, part := range strings.Split(string(b), "```toml\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		if err := new(Policy).Add("docs/preserve.md", text); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
		n++
	}
	if n == 0 {
		t.Errorf("%d examples", n)
	}
	for _, h := range handlers() {
		if !strings.Contains(string(b), "### "+h.Name()) {
			t.Errorf("docs/preserve.md does not say what %s does", h.Name())
		}
	}
}

// FuzzPolicy: no text makes the parser fail other than by a refusal, and what
// is taken obeys the rules.
func FuzzPolicy(f *testing.F) {
	f.Add(defaultPolicy)
	f.Add("[[path]]\npath = \"/etc/a\"\nmode = \"0640\"\nlimit = \"1GiB\"\n[[drop]]\npath = \"/a/**/b\"\n[handlers]\nssh = false\n")
	f.Add("[[path]]\npath = \"\"\"\n[[path]]\n/etc\"\"\"\n")
	f.Add("[path]\n[[path.path]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := &Policy{}
		if err := p.Add("fuzz.toml", text); err != nil {
			if !errors.Is(err, ErrPreserve) || len(p.Rules) > 0 {
				t.Fatalf("%v, %+v", err, p)
			}
			return
		}
		for _, r := range p.Rules {
			clean, err := cleanPattern("/" + r.Pattern)
			if err != nil || clean != r.Pattern || strings.HasPrefix(r.Pattern, "/") || r.Mode > 0o777 || r.Limit < 1 || r.Missing == 0 || r.When == 0 {
				t.Fatalf("%+v, %v", r, err)
			}
		}
	})
}
