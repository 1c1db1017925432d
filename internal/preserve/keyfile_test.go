package preserve

import (
	"bytes"
	"testing"
)

func TestKeyfileEscapes(t *testing.T) {
	for _, s := range []string{"", "a", " a", "  ", "a b ", `a\b`, `\s`, "a\nb", "a\tb\r", `\\n`} {
		if got := keyUnescape(keyEscape(s)); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestParseKeyfile(t *testing.T) {
	k, err := parseKeyfile([]byte("# c\n[a]\nx = 1\ny=\\s2\n\n[b c]\nx=3\n[a]\nx=4\n"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "[a]\nx=4\ny=\\s2\n\n[b c]\nx=3\n"
	if got := string(k.encode()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if v, _ := k.get("a", "y"); v != " 2" {
		t.Errorf("y is %q", v)
	}
	for _, bad := range []string{"x=1", "[a]\nx", "[a\nx=1", "[]\n", "[a]\n=1", "[a]b\n", "[a]\nx=\x00", "[a]\nx=\xff", "[a]]\n"} {
		if _, err := parseKeyfile([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzKeyfile(f *testing.F) {
	f.Add([]byte("[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n\n[ipv4]\nmethod=manual\naddress1=192.0.2.1/24,192.0.2.2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseKeyfile(data)
		if err != nil {
			return
		}
		once := k.encode()
		again, err := parseKeyfile(once)
		if err != nil {
			t.Fatalf("%q does not read back: %v", once, err)
		}
		if twice := again.encode(); !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q", once, twice)
		}
		fuzzPlan(t, keyfileDir+"/a.nmconnection", 0o600, data, "el9", "el9")
		fuzzPlan(t, keyfileDir+"/a.nmconnection", 0o600, data, "el8", "el9")
	})
}
