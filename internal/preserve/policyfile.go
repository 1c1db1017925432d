package preserve

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

//go:embed default.toml
var defaultPolicy string

// maxPolicy is far more than any policy file needs.
const maxPolicy = 1 << 20

// Add adds the rules of a policy file; name is for errors. An unknown key, or
// a value that is none, is an error with file and line: a misspelt rule would
// be noticed only when the settings are gone.
func (p *Policy) Add(name, text string) error {
	if len(text) > maxPolicy || !utf8.ValidString(text) {
		return &Refusal{Subject: name, Reason: fmt.Sprintf("not a text of at most %d bytes", maxPolicy)}
	}
	next := &Policy{Rules: slices.Clone(p.Rules), Handlers: maps.Clone(p.Handlers)}
	if next.Handlers == nil {
		next.Handlers = map[string]bool{}
	}
	for _, s := range sections(text) {
		if err := s.parse(name, next); err != nil {
			return err
		}
	}
	*p = *next
	return nil
}

// section is one [[path]], [[drop]] or [handlers] with the lines of the file
// before it left empty. The library keeps one line number a key, and so would
// name the last [[path]] of the file for a mistake in any of them.
type section struct {
	text string
	line int
}

func sections(text string) []section {
	var list []section
	var lines []string
	start := 0
	flush := func(end int) {
		body := strings.Join(lines[start:end], "\n")
		if strings.TrimSpace(body) != "" {
			list = append(list, section{strings.Repeat("\n", start) + body, start + 1})
		}
		start = end
	}
	lines = strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), "[") {
			flush(i)
		}
	}
	flush(len(lines))
	return list
}

func (s section) parse(file string, p *Policy) error {
	var top map[string]toml.Primitive
	meta, err := toml.Decode(s.text, &top)
	if err != nil {
		return s.at(file, err)
	}
	for key, undecoded := range top {
		// The value's own decoding calls back with the value, so that the
		// library knows the line of an error.
		var take value
		switch key {
		case "path", "drop":
			take = func(v any) error { return s.rule(file, key == "drop", v, p, meta) }
		case "handlers":
			take = func(v any) error { return handlerSwitches(v, p) }
		default:
			take = func(any) error {
				return fmt.Errorf("unknown section or key %q: there are [[path]], [[drop]] and [handlers]", key)
			}
		}
		var mistake error // the library's error does not wrap it
		if err := meta.PrimitiveDecode(undecoded, value(func(v any) error {
			mistake = take(v)
			return mistake
		})); err != nil {
			return s.at(file, errors.Join(mistake, err))
		}
	}
	return nil
}

// at is a mistake with file and line.
func (s section) at(file string, err error) error {
	var pe toml.ParseError
	line := s.line
	reason := err.Error()
	if errors.As(err, &pe) {
		reason = pe.Message
		if pe.Position.Line > line {
			line = pe.Position.Line
		}
	}
	var mistake *keyMistake
	if errors.As(err, &mistake) {
		line, reason = s.lineOf(mistake.key), mistake.Error()
	}
	return &Refusal{Subject: fmt.Sprintf("%s:%d", file, line), Reason: reason, Next: "docs/preserve.md has every key"}
}

// lineOf is the line on which a key is set.
func (s section) lineOf(key string) int {
	for i, l := range strings.Split(s.text, "\n") {
		name, _, ok := strings.Cut(l, "=")
		if ok && strings.Trim(strings.TrimSpace(name), `"'`) == key {
			return i + 1
		}
	}
	return s.line
}

// keyMistake is what is wrong with one key of a section.
type keyMistake struct {
	key string
	err error
}

func (e *keyMistake) Error() string { return e.key + ": " + e.err.Error() }

// value takes a decoded TOML value.
type value func(any) error

// UnmarshalTOML implements toml.Unmarshaler.
func (f value) UnmarshalTOML(v any) error { return f(v) }

func (s section) rule(file string, drop bool, v any, p *Policy, _ toml.MetaData) error {
	tables, ok := v.([]map[string]any)
	if !ok || len(tables) != 1 {
		return errors.New("write [[path]] or [[drop]] on a line of its own")
	}
	r := Rule{Drop: drop, Missing: MissingOK, When: WhenAlways, Limit: defaultLimit, Origin: fmt.Sprintf("%s:%d", file, s.line)}
	keys := pathKeys
	if drop {
		keys = dropKeys
	}
	recursive := false
	for _, key := range slices.Sorted(maps.Keys(tables[0])) {
		set, ok := keys[key]
		if !ok {
			return &keyMistake{key, fmt.Errorf("unknown key: there are %s", strings.Join(slices.Sorted(maps.Keys(keys)), ", "))}
		}
		if err := set(&r, &recursive, tables[0][key]); err != nil {
			return &keyMistake{key, err}
		}
	}
	if r.Pattern == "" {
		return errors.New(`path is missing: write path = "/etc/…"`)
	}
	if recursive && !strings.HasSuffix(r.Pattern, "/**") {
		r.Pattern += "/**"
	}
	p.Rules = append(p.Rules, r)
	return nil
}

type setter = func(r *Rule, recursive *bool, v any) error

var dropKeys = map[string]setter{
	"path":      setPath,
	"recursive": setRecursive,
	"reason": func(r *Rule, _ *bool, v any) error {
		s, ok := v.(string)
		if !ok {
			return errors.New("must be text in quotes")
		}
		r.Reason = s
		return nil
	},
}

var pathKeys = map[string]setter{
	"path":      setPath,
	"recursive": setRecursive,
	"mode":      setMode,
	"missing": func(r *Rule, _ *bool, v any) (err error) {
		r.Missing, err = word(v, missingWords)
		return err
	},
	"when": func(r *Rule, _ *bool, v any) (err error) {
		r.When, err = word(v, whenWords)
		return err
	},
	"limit": setLimit,
}

func setPath(r *Rule, _ *bool, v any) error {
	s, ok := v.(string)
	if !ok || !strings.HasPrefix(s, "/") {
		return errors.New("must be a path in quotes that begins with /")
	}
	clean, err := cleanPattern(s)
	if err != nil {
		return err
	}
	r.Pattern = clean
	return nil
}

func setRecursive(_ *Rule, recursive *bool, v any) error {
	b, ok := v.(bool)
	if !ok {
		return errors.New("must be true or false")
	}
	*recursive = b
	return nil
}

func setMode(r *Rule, _ *bool, v any) error {
	s, ok := v.(string)
	if !ok {
		return errors.New(`must be octal digits in quotes, as "0640"`)
	}
	n, err := strconv.ParseUint(s, 8, 16)
	if err != nil || n > 0o777 {
		return fmt.Errorf(`%q must be octal digits up to "0777"; setuid is never carried`, s)
	}
	r.Mode, r.HasMode = fs.FileMode(n), true
	return nil
}

func setLimit(r *Rule, _ *bool, v any) error {
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case string:
		for suffix, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
			if digits, ok := strings.CutSuffix(v, suffix); ok {
				if d, err := strconv.ParseUint(digits, 10, 24); err == nil {
					n = int64(d) * factor
				}
			}
		}
	}
	if n < 1 || n > 1<<40 {
		return errors.New(`must be a number of bytes above 0: 500000, "512KiB", "2MiB" or "1GiB"`)
	}
	r.Limit = n
	return nil
}

func word[T any](v any, words map[string]T) (T, error) {
	s, _ := v.(string)
	w, ok := words[s]
	if !ok {
		return w, fmt.Errorf("must be one of %q", slices.Sorted(maps.Keys(words)))
	}
	return w, nil
}

func handlerSwitches(v any, p *Policy) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errors.New("write [handlers] on a line of its own")
	}
	names := HandlerNames()
	slices.Sort(names)
	for _, key := range slices.Sorted(maps.Keys(table)) {
		on, ok := table[key].(bool)
		switch {
		case !slices.Contains(names, key):
			return &keyMistake{key, fmt.Errorf("unknown handler: there are %s", strings.Join(names, ", "))}
		case !ok:
			return &keyMistake{key, errors.New("must be true or false")}
		}
		p.Handlers[key] = on
	}
	return nil
}
