package preserve

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// keyfile is a GLib key file: NetworkManager's profiles and configuration.
// Comments are not kept: files are carried byte for byte, or made anew.
type keyfile struct {
	groups []*keyGroup
}

type keyGroup struct {
	name    string
	entries []keyEntry
}

type keyEntry struct{ key, value string } // value as written, with its escapes

// Bounds of a keyfile. A WireGuard profile with a thousand peers has 200 KB.
const (
	maxKeyfile    = 1 << 20
	maxKeyEntries = 20000
)

// parseKeyfile reads a key file. Like GLib, the last of two equal keys
// counts, and two groups of one name are one.
func parseKeyfile(data []byte) (*keyfile, error) {
	if len(data) > maxKeyfile {
		return nil, fmt.Errorf("more than %d bytes", maxKeyfile)
	}
	if bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data) {
		return nil, errors.New("not a text file")
	}
	k := &keyfile{}
	var group string
	n, entries := 0, 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimLeft(line, " \t")
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case trimmed[0] == '[':
			end := strings.LastIndexByte(trimmed, ']')
			if end < 2 || strings.TrimSpace(trimmed[end+1:]) != "" || strings.ContainsAny(trimmed[1:end], "[]") {
				return nil, fmt.Errorf("line %d: bad group %.80q", n, trimmed)
			}
			group = trimmed[1:end]
			k.group(group)
		default:
			key, value, ok := strings.Cut(trimmed, "=")
			key = strings.TrimRight(key, " \t")
			if !ok || key == "" || group == "" {
				return nil, fmt.Errorf("line %d: %.80q is no key of a group", n, trimmed)
			}
			if entries++; entries > maxKeyEntries {
				return nil, fmt.Errorf("more than %d keys", maxKeyEntries)
			}
			k.put(group, key, strings.TrimLeft(value, " \t"))
		}
	}
	return k, nil
}

func (k *keyfile) group(name string) *keyGroup {
	for _, g := range k.groups {
		if g.name == name {
			return g
		}
	}
	g := &keyGroup{name: name}
	k.groups = append(k.groups, g)
	return g
}

// put stores a value as it is written in a file.
func (k *keyfile) put(group, key, value string) {
	g := k.group(group)
	i := slices.IndexFunc(g.entries, func(e keyEntry) bool { return e.key == key })
	if i >= 0 {
		g.entries[i].value = value
		return
	}
	g.entries = append(g.entries, keyEntry{key, value})
}

// set stores a value, escaped.
func (k *keyfile) set(group, key, value string) { k.put(group, key, keyEscape(value)) }

// get returns a value without its escapes.
func (k *keyfile) get(group, key string) (string, bool) {
	for _, g := range k.groups {
		if g.name != group {
			continue
		}
		for _, e := range g.entries {
			if e.key == key {
				return keyUnescape(e.value), true
			}
		}
	}
	return "", false
}

func (k *keyfile) encode() []byte {
	var b bytes.Buffer
	for i, g := range k.groups {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%s]\n", g.name)
		for _, e := range g.entries {
			fmt.Fprintf(&b, "%s=%s\n", e.key, e.value)
		}
	}
	return b.Bytes()
}

var (
	keyEscapes   = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	keyUnescapes = strings.NewReplacer(`\\`, `\`, `\s`, " ", `\n`, "\n", `\r`, "\r", `\t`, "\t")
)

// keyEscape and keyUnescape are g_key_file_set_string's and get_string's.
func keyEscape(s string) string {
	s = keyEscapes.Replace(s)
	rest := strings.TrimLeft(s, " ")
	return strings.Repeat(`\s`, len(s)-len(rest)) + rest
}

func keyUnescape(s string) string { return keyUnescapes.Replace(s) }

// keyList splits a value at semicolons or commas, as NetworkManager does.
func keyList(s string) []string {
	var out []string
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' }) {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}
