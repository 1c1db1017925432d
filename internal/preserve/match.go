package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Patterns are paths whose elements may hold *, ? and [a-z], as in path.Match;
// an element ** stands for any number of elements, none included. "etc/x/**"
// is thus etc/x and all below it.

// cleanPattern checks a pattern, which may begin with a slash, and returns it
// as the other functions want it.
func cleanPattern(pattern string) (string, error) {
	clean, err := Clean(pattern)
	if err != nil {
		return "", err
	}
	if clean == "." {
		return "", fmt.Errorf("%q names the whole system", pattern)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if strings.Contains(part, "**") && part != "**" {
			return "", fmt.Errorf("%q: ** must stand alone between slashes", pattern)
		}
		if _, err := path.Match(part, ""); err != nil {
			return "", fmt.Errorf("%q: %w", pattern, err)
		}
	}
	if strings.HasPrefix(clean, "**") {
		if strings.Trim(clean, "*/") == "" {
			return "", fmt.Errorf("%q names the whole system", pattern)
		}
	}
	return clean, nil
}

// Match tells whether a cleaned pattern names the path.
func Match(pattern, name string) bool {
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func matchParts(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for len(pattern) > 1 && pattern[1] == "**" {
				pattern = pattern[1:]
			}
			if len(pattern) == 1 {
				return true
			}
			for i := range len(name) + 1 {
				if matchParts(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// matchAny tells whether one of the patterns names the path.
func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Match(p, name) })
}

// maxFound bounds what one pattern may name.
const maxFound = 1 << 17

// Find returns the entries that a cleaned pattern names, sorted by path. It
// descends into no link, but begins behind the links of the pattern's fixed
// directories where only root can have made them: etc/init.d/* is found in
// etc/rc.d/init.d.
func Find(t Tree, pattern string) ([]Entry, error) {
	parts := strings.Split(pattern, "/")
	fixed := 0
	for fixed < len(parts)-1 && !strings.ContainsAny(parts[fixed], `*?[\`) {
		fixed++
	}
	dir := path.Join(parts[:fixed]...)
	if dir == "" {
		dir = "."
	}
	dir, err := resolveTrusted(t, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := finder{tree: t}
	if err := f.find(dir, parts[fixed:]); err != nil {
		return nil, err
	}
	slices.SortFunc(f.found, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(f.found, func(a, b Entry) bool { return a.Path == b.Path }), nil
}

type finder struct {
	tree  Tree
	found []Entry
}

func (f *finder) add(e Entry) error {
	if len(f.found) >= maxFound {
		return fmt.Errorf("more than %d files", maxFound)
	}
	f.found = append(f.found, e)
	return nil
}

func (f *finder) find(dir string, parts []string) error {
	if parts[0] == "**" {
		return f.findDeep(dir, parts[1:])
	}
	if !strings.ContainsAny(parts[0], `*?[\`) {
		e, err := f.tree.Lstat(path.Join(dir, parts[0]))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return f.step(e, parts[1:])
	}
	list, err := f.list(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if ok, err := path.Match(parts[0], e.Name()); err != nil || !ok {
			continue
		}
		if err := f.step(e, parts[1:]); err != nil {
			return err
		}
	}
	return nil
}

// step goes on from e, which matched, with the rest of the pattern.
func (f *finder) step(e Entry, rest []string) error {
	switch {
	case len(rest) == 0:
		return f.add(e)
	case e.Kind == KindDir:
		return f.find(e.Path, rest)
	case len(rest) == 1 && rest[0] == "**":
		return f.add(e) // etc/x/** also is etc/x, should that be a file
	}
	return nil
}

// findDeep is find for ** and the rest of the pattern behind it.
func (f *finder) findDeep(dir string, rest []string) error {
	if len(rest) > 0 {
		if err := f.find(dir, rest); err != nil {
			return err
		}
	} else {
		e, err := f.tree.Lstat(dir)
		if err != nil {
			return err
		}
		if err := f.add(e); err != nil {
			return err
		}
	}
	list, err := f.list(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		switch {
		case e.Kind == KindDir:
			err = f.findDeep(e.Path, rest)
		case len(rest) == 0:
			err = f.add(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list reads a directory; what is none, or has gone meanwhile, is empty.
func (f *finder) list(dir string) ([]Entry, error) {
	if e, err := f.tree.Lstat(dir); err == nil && e.Kind != KindDir {
		return nil, nil
	}
	list, err := f.tree.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// resolveTrusted is Resolve, but only through links that nobody but root can
// have made: the link and the directory that it is in are root's, and nobody
// else may write there.
func resolveTrusted(t Tree, name string) (string, error) {
	dir := "."
	for part := range strings.SplitSeq(name, "/") {
		next := path.Join(dir, part)
		e, err := t.Lstat(next)
		if err != nil {
			return "", err
		}
		if e.Kind == KindSymlink {
			if err := trusted(t, e); err != nil {
				return "", err
			}
			if next, err = Resolve(t, next); err != nil {
				return "", err
			}
		}
		dir = next
	}
	return dir, nil
}

// trusted refuses a link that somebody else than root may have made.
func trusted(t Tree, link Entry) error {
	dir, err := t.Lstat(path.Dir(link.Path))
	if err != nil {
		return err
	}
	if link.UID != 0 || dir.UID != 0 || dir.Mode&0o022 != 0 {
		return &fs.PathError{Op: "follow", Path: absolute(link.Path), Err: errForeignLink}
	}
	return nil
}

// errForeignLink wraps fs.ErrNotExist: behind such a link there is nothing
// for us.
var errForeignLink = fmt.Errorf("a symbolic link that is not root's: %w", fs.ErrNotExist)
