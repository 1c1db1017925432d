package bootctl

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/slot"
)

// eachState calls f with every boot state: 2*2*10*2*10*2*2 of them.
func eachState(f func(State)) {
	for _, primary := range slot.All {
		for a := range 20 {
			for b := range 20 {
				for _, kind := range []Kind{KindSlot, KindOld} {
					for _, mig := range []bool{false, true} {
						f(State{
							Seq: 42, Primary: primary, BKind: kind, Migrate: mig,
							A: Flags{OK: a >= 10, Tries: a % 10}, B: Flags{OK: b >= 10, Tries: b % 10},
						})
					}
				}
			}
		}
	}
}

func TestEnvRoundTrip(t *testing.T) {
	n := 0
	seen := make(map[string]bool)
	eachState(func(s State) {
		n++
		b := s.Encode()
		if len(b) != EnvSize {
			t.Fatalf("%+v: %d bytes", s, len(b))
		}
		got, err := ParseEnv(b)
		if err != nil || got != s {
			t.Fatalf("%+v came back as %+v, %v", s, got, err)
		}
		seen[string(b)] = true
	})
	if n != 3200 || len(seen) != n {
		t.Errorf("%d states gave %d blocks, want 3200 each", n, len(seen))
	}
}

var armed = State{Seq: 7, Primary: slot.B, A: Flags{OK: true}, B: Flags{Tries: 3}, BKind: KindSlot}

const armedText = `# GRUB Environment Block
ab_fmt=1
ab_seq=0000000007
ab_pri=b
ab_a_ok=1
ab_a_try=0
ab_b_ok=0
ab_b_try=3
ab_b_kind=slot
ab_mig=0
ab_end=1
`

func padded(text string) []byte {
	return append([]byte(text), bytes.Repeat([]byte{'#'}, max(0, EnvSize-len(text)))...)
}

func TestEnvBytes(t *testing.T) {
	if got := armed.Encode(); !bytes.Equal(got, padded(armedText)) {
		t.Errorf("encoded as %q", got)
	}
}

// TestEnvAfterGRUB reads a block that GRUB's own save_env has written.
func TestEnvAfterGRUB(t *testing.T) {
	b, err := os.ReadFile("testdata/env-after-save_env")
	if err != nil {
		t.Fatal(err)
	}
	want := armed
	want.B.Tries = 0
	if got, err := ParseEnv(b); err != nil || got != want {
		t.Errorf("ParseEnv = %+v, %v; want %+v", got, err, want)
	}
}

// grubEditenv runs GRUB's own tool on a block and returns what it printed.
func grubEditenv(t *testing.T, block []byte, args ...string) (output string, after []byte) {
	t.Helper()
	tool, err := exec.LookPath("grub-editenv")
	if err != nil {
		t.Fatal("grub-editenv is missing: install the Debian package grub-common")
	}
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, append([]string{path}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("grub-editenv %v: %v: %s", args, err, out)
	}
	after, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), after
}

func TestGrubEditenvReadsEnv(t *testing.T) {
	_, want, _ := strings.Cut(armedText, "\n")
	if got, _ := grubEditenv(t, armed.Encode(), "list"); got != want {
		t.Errorf("grub-editenv lists %q, want %q", got, want)
	}
}

func TestEnvAfterGrubEditenv(t *testing.T) {
	_, after := grubEditenv(t, armed.Encode(), "set", "ab_b_try=2", "ab_pri=a", "ab_b_kind=old")
	want := armed
	want.Primary, want.B.Tries, want.BKind = slot.A, 2, KindOld
	if got, err := ParseEnv(after); err != nil || got != want {
		t.Errorf("ParseEnv = %+v, %v; want %+v", got, err, want)
	}
}

func TestParseEnvRefuses(t *testing.T) {
	swap := func(from, to string) []byte { return padded(strings.Replace(armedText, from, to, 1)) }
	for name, b := range map[string][]byte{
		"empty":                 nil,
		"zeros":                 make([]byte, EnvSize),
		"short":                 armed.Encode()[:EnvSize-1],
		"long":                  append(armed.Encode(), '#'),
		"no signature":          swap("# GRUB", "# grub"),
		"no keys":               padded(signature),
		"only padding":          bytes.Repeat([]byte{'#'}, EnvSize),
		"other format":          swap("ab_fmt=1", "ab_fmt=2"),
		"other end":             swap("ab_end=1", "ab_end=0"),
		"no end":                swap("ab_end=1\n", ""),
		"end cut off":           swap("ab_end=1\n", "ab_end=1"),
		"zero sequence":         swap("0000000007", "0000000000"),
		"short sequence":        swap("0000000007", "7"),
		"signed sequence":       swap("0000000007", "+000000007"),
		"sequence too large":    swap("0000000007", "4294967296"),
		"primary c":             swap("ab_pri=b", "ab_pri=c"),
		"no primary":            swap("ab_pri=b\n", ""),
		"ok 2":                  swap("ab_a_ok=1", "ab_a_ok=2"),
		"no tries":              swap("ab_b_try=3", "ab_b_try="),
		"tries 10":              swap("ab_b_try=3", "ab_b_try=10"),
		"tries x":               swap("ab_b_try=3", "ab_b_try=x"),
		"kind":                  swap("kind=slot", "kind=disk"),
		"migrate":               swap("ab_mig=0", "ab_mig=yes"),
		"key twice":             swap("ab_pri=b\n", "ab_pri=b\nab_pri=a\n"),
		"keys in another order": swap("ab_seq=0000000007\nab_pri=b\n", "ab_pri=b\nab_seq=0000000007\n"),
		"unknown key":           swap("ab_end=1\n", "ab_end=1\nroot=hd0\n"),
		"text in the padding":   swap("ab_end=1\n", "ab_end=1\n#x"),
		"newline at the end":    append(padded(armedText)[:EnvSize-1], '\n'),
		"backslash":             swap("ab_pri=b", `ab_pri=\b`),
	} {
		if s, err := ParseEnv(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, s)
		}
	}
}

func TestStateValidate(t *testing.T) {
	for name, change := range map[string]func(*State){
		"sequence": func(s *State) { s.Seq = 0 },
		"primary":  func(s *State) { s.Primary = 0 },
		"tries":    func(s *State) { s.A.Tries = 10 },
		"negative": func(s *State) { s.B.Tries = -1 },
		"kind":     func(s *State) { s.BKind = 0 },
	} {
		s := armed
		change(&s)
		if s.Validate() == nil {
			t.Errorf("%s: %+v is valid", name, s)
		}
	}
	if err := armed.Validate(); err != nil {
		t.Error(err)
	}
}
