package preserve

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// contexts are the labels that a system's SELinux policy gives to paths
// (file_contexts(5)).
type contexts struct {
	specs []contextSpec
	subs  [][2]string // path prefix → the one that specs know
}

type contextSpec struct {
	regex string
	exact bool   // no metacharacters: wins over all that have some
	kind  string // "--", "-d", "-l"…; "" for all
	label string // "" for <<none>>

	compiled *regexp.Regexp
	broken   bool
}

// maxContexts bounds the policy's list: the largest have some 7,000 lines.
const maxContexts = 16 << 20

// readContexts reads the list of the policy that a system's configuration
// names. A system without SELinux has none.
func readContexts(t Tree) (*contexts, error) {
	c := &contexts{}
	dir := path.Join("etc/selinux", selinuxSetting(t, "SELINUXTYPE", "targeted"), "contexts/files")
	for _, name := range []string{"file_contexts", "file_contexts.homedirs", "file_contexts.local"} {
		text, err := readOptional(t, path.Join(dir, name), maxContexts)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			c.take(line)
		}
	}
	for _, name := range []string{"file_contexts.subs_dist", "file_contexts.subs"} {
		text, err := readOptional(t, path.Join(dir, name), maxConfig)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[0], "/") {
				c.subs = append(c.subs, [2]string{f[0], f[1]})
			}
		}
	}
	return c, nil
}

// readOptional reads a file that need not be there.
func readOptional(t Tree, name string, limit int64) (string, error) {
	b, err := ReadFile(t, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

func (c *contexts) take(line string) {
	f := strings.Fields(line)
	if len(f) < 2 || len(f) > 3 || strings.HasPrefix(f[0], "#") {
		return
	}
	s := contextSpec{regex: f[0], label: f[len(f)-1], exact: !strings.ContainsAny(strings.ReplaceAll(f[0], `\.`, ""), `.^$?*+|[({\`)}
	if len(f) == 3 {
		s.kind = f[1]
	}
	if s.label == "<<none>>" {
		s.label = ""
	}
	if s.exact {
		s.regex = strings.ReplaceAll(s.regex, `\.`, ".")
	}
	c.specs = append(c.specs, s)
}

var contextKinds = map[Kind]string{KindFile: "--", KindDir: "-d", KindSymlink: "-l"}

// label returns the label for an absolute path. As in libselinux, the last
// entry that matches counts, and those without metacharacters come last.
func (c *contexts) label(name string, kind Kind) (string, bool) {
	for _, sub := range c.subs {
		if rest, ok := strings.CutPrefix(name, sub[0]); ok && (rest == "" || rest[0] == '/') {
			name = sub[1] + rest
			break
		}
	}
	for _, exact := range []bool{true, false} {
		for i := range slices.Backward(c.specs) {
			s := &c.specs[i]
			if s.exact == exact && (s.kind == "" || s.kind == contextKinds[kind]) && s.matches(name) {
				return s.label, s.label != ""
			}
		}
	}
	return "", false
}

func (s *contextSpec) matches(name string) bool {
	if s.exact {
		return s.regex == name
	}
	// Most entries are for another directory: compile only what may match.
	stem := s.regex
	if i := strings.IndexAny(stem, `.^$?*+|[({\`); i >= 0 {
		stem = stem[:i]
		// A quantifier makes its character optional.
		if rest := s.regex[i:]; len(stem) > 0 && (rest[0] == '?' || rest[0] == '*' || rest[0] == '{') {
			stem = stem[:len(stem)-1]
		}
	}
	if strings.ContainsRune(s.regex, '|') && !strings.ContainsRune(s.regex, '(') {
		stem = ""
	}
	if s.broken || !strings.HasPrefix(name, stem) {
		return false
	}
	if s.compiled == nil {
		var err error
		if s.compiled, err = regexp.Compile("^(?:" + s.regex + ")$"); err != nil {
			s.broken = true // PCRE that Go does not have: as if it were not there
			return false
		}
	}
	return s.compiled.MatchString(name)
}

// label gives each planned file the label that the new system's policy has
// for it, or else that of the file that it replaces, or of its directory.
func (p *Planner) label() error {
	c, err := readContexts(p.new)
	if err != nil {
		return failed("reading the new system's SELinux file contexts", err)
	}
	kinds := map[OpKind]Kind{OpWrite: KindFile, OpMkdir: KindDir, OpSymlink: KindSymlink}
	for _, name := range slices.Sorted(maps.Keys(p.ops)) {
		op := p.ops[name]
		if kind, ok := kinds[op.Kind]; ok {
			label, ok := c.label(absolute(name), kind)
			if !ok {
				label = p.nearLabel(name)
			}
			if label != "" {
				op.Xattrs = maps.Clone(op.Xattrs)
				if op.Xattrs == nil {
					op.Xattrs = map[string]string{}
				}
				op.Xattrs[xattrLabel] = label + "\x00"
			}
		}
	}
	if label, ok := c.label(absolute(journalFile), KindFile); ok {
		p.plan.journalLabel = label + "\x00"
	}
	return nil
}

// nearLabel is the label of the entry that is replaced, or of the next
// directory above that has one.
func (p *Planner) nearLabel(name string) string {
	for ; ; name = path.Dir(name) {
		if attrs, err := p.new.Xattrs(name); err == nil && attrs[xattrLabel] != "" {
			return strings.TrimRight(attrs[xattrLabel], "\x00")
		}
		if name == "." {
			return ""
		}
	}
}
