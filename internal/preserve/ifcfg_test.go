package preserve

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os/exec"
	"strings"
	"testing"
)

func TestParseShell(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`A=b`, "b"},
		{`A=`, ""},
		{`  	A="b c"`, "b c"},
		{`A=b # c`, "b"},
		{`A=b#c`, "b#c"},
		{`A='it'"'"'s'`, "it's"},
		{`A="a\"b\\c\$d\` + "`" + `e\f"`, "a\"b\\c$d`e\\f"},
		{`A='$(reboot)'`, "$(reboot)"},
		{`A=\$x`, "$x"},
		{`A=$'a\tb\x41\101\u00e9\'c'`, "a\tbAAé'c"},
		{`A=a~b`, "a~b"},
		{`A=*`, "*"},
		{`A=a=b`, "a=b"},
		{`A={a,b}`, "{a,b}"},
		{`A=!x`, "!x"},
	} {
		vars, err := parseShell([]byte(c.in))
		if err != nil || len(vars) != 1 || vars[0].Name != "A" || vars[0].Value != c.want {
			t.Errorf("%s: %v, %v; want %q", c.in, vars, err, c.want)
		}
	}
}

func TestParseShellRefuses(t *testing.T) {
	for _, in := range []string{
		"A=$x", "A=${x}", "A=$(x)", "A=$((1))", "A=`x`", `A="$x"`, "A=\"`x`\"", `A=$"x"`, "A=b;c", "A=b;", "A=b&", "A=b|c", "A=<x", "A=>x",
		"A=(b)", "A=b c", "A=~", "A=~root", "A=b:~", "A =b", "A= b", "A+=b", "A[0]=b", "export A=b", "unset A", ". ./x", "source x", "A",
		"1A=b", "A-B=c", "A='b", `A="b`, `A=b\`, `A="b\`, "A=$'b", "A=$'\\0'", "A=$'\\q'", "A=b\r", "if true", "}", "A=b\x00", "\xef\xbb\xbfA=b",
	} {
		if vars, err := parseShell([]byte(in)); err == nil {
			t.Errorf("%q was read as %v", in, vars)
		}
	}
}

// TestParseShellAgainstBash has bash read what the parser has accepted, made
// of the characters that mean something to a shell: bash must see the same
// value and do nothing else.
func TestParseShellAgainstBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("bash is missing: install the package bash")
	}
	const alphabet = "ab01 \t\"'\\$`~:;#&|<>(){}[]*?!=-+,./@%^" + "ntx"
	rng := rand.New(rand.NewSource(1))
	var script bytes.Buffer
	var texts, values []string
	for len(values) < 4000 {
		var b strings.Builder
		for range rng.Intn(12) {
			b.WriteByte(alphabet[rng.Intn(len(alphabet))])
		}
		vars, err := parseShell([]byte("V=" + b.String()))
		if err != nil || len(vars) != 1 {
			continue
		}
		texts, values = append(texts, b.String()), append(values, vars[0].Value)
		fmt.Fprintf(&script, "V=%s\nprintf '%%s\\0' \"$V\"\n", b.String())
	}
	// -r: should the parser ever accept what runs something, it runs little.
	cmd := exec.Command(bash, "--noprofile", "--norc", "-r", "-s")
	cmd.Env = []string{"PATH=/nonexistent", "LC_ALL=C.UTF-8"}
	cmd.Stdin = &script
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("bash: %v\n%.500s", err, out)
	}
	got := strings.Split(string(out), "\x00")
	for i, want := range values {
		if i >= len(got) || got[i] != want {
			t.Fatalf("V=%s: bash reads %q, the parser %q", texts[i], got[min(i, len(got)-1)], want)
		}
	}
}

// shellQuote writes a value so that bash and the parser read it back.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// fuzzPlan plans with one file in the old tree. Whatever it holds, the plan
// is refused with a reason or leaves the effective state as it is.
func fuzzPlan(t *testing.T, file string, mode int, data []byte, old, new string) {
	t.Helper()
	build := func(system string) *memTree {
		tree := newMemTree()
		for _, name := range netSystems[system] {
			putSystemFile(t, tree, name)
		}
		return tree
	}
	before, after := build(old), build(new)
	if err := before.put(fixtureNode(t, fmt.Sprintf("%s %04o", file, mode), string(data))); err != nil {
		t.Fatal(err)
	}
	before.seal()
	after.seal()
	live := []Link{{Name: "eth0", MAC: "52:54:00:00:00:01"}}
	plan, err := runHandlerOn(Host{Links: live}, network{}, before, after)
	if err != nil {
		if !errors.Is(err, ErrPreserve) {
			t.Fatalf("failed without a refusal: %v", err)
		}
		return
	}
	a := stateOf(t, before, nil, live)
	for _, l := range a.physical() {
		if l.MAC != "" && l.Name != "eth0" {
			live = append(live, l) // a card that is not plugged in now
		}
	}
	b := stateOf(t, after, plan, live)
	if d := a.difference(b); d != "" && len(a.profiles) > 0 && !identityOnly(a, b) {
		t.Fatalf("the new system would come up %s", d)
	}
}

func FuzzIfcfg(f *testing.F) {
	f.Add([]byte("DEVICE=eth0\nBOOTPROTO=none\nIPADDR=192.0.2.1\nPREFIX=24\nGATEWAY=192.0.2.2\nDNS1=192.0.2.3\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, err := parseShell(data)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, v := range vars {
			fmt.Fprintf(&again, "%s=%s\n", v.Name, shellQuote(v.Value))
		}
		back, err := parseShell([]byte(again.String()))
		multi := false
		for _, v := range vars {
			multi = multi || strings.Contains(v.Value, "\n") // only $'…' makes these
		}
		if !multi && (err != nil || len(back) != len(vars)) {
			t.Fatalf("%q read back: %v, %v", again.String(), back, err)
		}
		for i := range back {
			if !multi && (back[i].Name != vars[i].Name || back[i].Value != vars[i].Value) {
				t.Fatalf("%v became %v", vars[i], back[i])
			}
		}
		fuzzPlan(t, ifcfgDir+"/ifcfg-eth0", 0o644, data, "el7-scripts", "el9")
		fuzzPlan(t, ifcfgDir+"/ifcfg-eth0", 0o644, data, "el7", "el8")
		fuzzPlan(t, ifcfgDir+"/ifcfg-eth0", 0o644, data, "el7", "el9")
	})
}

func FuzzRoutes(f *testing.F) {
	f.Add([]byte("10.0.0.0/8 via 192.0.2.2 dev eth0 metric 5\nADDRESS0=10.0.0.0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fam := range []family{ipv4, ipv6} {
			for line := range strings.Lines(string(data)) {
				if r, _, err := parseRouteWords(fam, configLine(line), builtinTables); err == nil {
					k := &keyfile{}
					writeRoute(k, "ipv4", "route1", r)
					g := &reading{r: &netReader{tables: builtinTables}, k: k, used: map[string]bool{}}
					back, err := g.route(fam, g.str("ipv4", "route1"), g.str("ipv4", "route1_options"))
					if err != nil || back.String() != r.String() {
						t.Fatalf("%q as a keyfile: %s, %v; want %s", line, back, err, r)
					}
				}
				if r, err := parseRuleWords(fam, configLine(line), builtinTables); err == nil && r.Priority >= 0 {
					back, err := parseRuleWords(fam, strings.Fields(ruleText(fam, r)), builtinTables)
					if err != nil || back.String() != r.String() {
						t.Fatalf("%q as a keyfile: %s, %v; want %s", line, back, err, r)
					}
				}
			}
		}
	})
}
