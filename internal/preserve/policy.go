package preserve

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Policy says what is carried over: the built-in default, the vendor's files
// and the site's, in this order. The last rule that names a path counts.
type Policy struct {
	Rules []Rule
	// Handlers switches handlers on and off; one that is not named is on.
	Handlers map[string]bool
	// Host is for a caller whose old tree is no running system's (the
	// migrator). What it leaves out is taken from the old tree: from its /sys,
	// or from the archive that it was captured into.
	Host
}

// Rule is one [[path]] or [[drop]] of a policy file.
type Rule struct {
	Pattern string // cleaned, with recursive's /** at its end
	Drop    bool   // [[drop]]: leave it behind
	Mode    fs.FileMode
	HasMode bool
	Missing Missing
	When    When
	Limit   int64  // bytes a file may have
	Reason  string // of a drop, for the user
	Origin  string // file and line
}

// Missing is what to do when a rule names nothing.
type Missing uint8

// The ways to take what is missing.
const (
	_ Missing = iota
	MissingOK
	MissingWarn
	MissingFail
)

func (m Missing) String() string { return wordOf(missingWords, m) }

var missingWords = map[string]Missing{"ok": MissingOK, "warn": MissingWarn, "fail": MissingFail}

// When is the condition of a rule.
type When uint8

// The conditions.
const (
	_ When = iota
	WhenAlways
	WhenChanged // only what differs from the old image's default
)

func (w When) String() string { return wordOf(whenWords, w) }

// wordOf is the word of a policy file for a value.
func wordOf[T comparable](words map[string]T, v T) string {
	for word, is := range words {
		if is == v {
			return word
		}
	}
	return "invalid"
}

var whenWords = map[string]When{"always": WhenAlways, "changed": WhenChanged}

// defaultLimit is how large a file may be unless its rule says otherwise: a
// set of configuration files, not of data.
const defaultLimit = 64 << 20

// Where policy files are: the vendor's in the new image, because the new
// image knows what it needs; the site's on the old system, where the customer
// put them.
const (
	vendorDir = "usr/lib/abupdate/preserve.d"
	siteDir   = "etc/abupdate/preserve.d"
)

// Default is the built-in policy.
func Default() *Policy {
	p := &Policy{Handlers: map[string]bool{}}
	if err := p.Add("built-in", defaultPolicy); err != nil {
		panic("internal error: " + err.Error()) // a test parses it
	}
	return p
}

// LoadPolicy returns the policy for a restore from old into new. A tree may
// be nil: then its layer is empty.
func LoadPolicy(old, new Tree) (*Policy, error) {
	p := Default()
	if new != nil {
		if err := p.addDir(new, vendorDir); err != nil {
			return nil, err
		}
	}
	if old != nil {
		if err := p.addDir(old, siteDir); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// addDir adds the policy files of a directory, by name.
func (p *Policy) addDir(t Tree, dir string) error {
	list, err := t.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed("reading the policy files in "+absolute(dir), err)
	}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".toml") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := path.Join(dir, e.Name())
		if e.Kind != KindFile || e.UID != 0 || e.Mode&0o022 != 0 {
			return &Refusal{
				Subject: absolute(name), Reason: "a policy file must be a regular file of root's that nobody else may write",
				Next: "chown root:root and chmod 0644 it, or remove it",
			}
		}
		b, err := ReadFile(t, name, maxPolicy)
		if err != nil {
			return failed("reading a policy file", err)
		}
		if err := p.Add(absolute(name), string(b)); err != nil {
			return err
		}
	}
	return nil
}

// Enabled tells whether a handler is to run.
func (p *Policy) Enabled(handler string) bool {
	on, named := p.Handlers[handler]
	return on || !named
}

// rule returns the rule that decides about a path, nil if none names it.
func (p *Policy) rule(name string) *Rule {
	for i := len(p.Rules) - 1; i >= 0; i-- {
		if Match(p.Rules[i].Pattern, name) {
			return &p.Rules[i]
		}
	}
	return nil
}
