package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// carryChanged plans each file and link that the patterns name, if it is the
// customer's and not the old image's default. Handlers use it for what means
// the same on both systems.
func (p *Planner) carryChanged(patterns ...string) error {
	found, err := p.Find(patterns...)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Kind == KindDir {
			continue
		}
		if _, err := p.carryFile(e); err != nil {
			return err
		}
	}
	return nil
}

// carryFile is carryChanged for one file: whether it is carried.
func (p *Planner) carryFile(e Entry) (bool, error) {
	if e.Kind == KindOther {
		p.Note(Dropped, absolute(e.Path), "device nodes, sockets and FIFOs are not carried")
		return false, nil
	}
	if e.Kind == KindFile && e.Size > maxConfig {
		return false, p.Refuse(absolute(e.Path), fmt.Sprintf("has %d bytes: no configuration file is that long", e.Size),
			"leave it out with [[drop]] in /etc/abupdate/preserve.d")
	}
	is, err := p.Changed(e.Path)
	if err != nil {
		return false, err
	}
	if !is {
		p.Note(Kept, absolute(e.Path), "never changed on this device")
		return false, nil
	}
	if err := p.Copy(e.Path); err != nil {
		return false, err
	}
	p.Note(Carried, absolute(e.Path), "")
	return true, nil
}

// oldText reads a file of the old system that need not be there, following
// links as the old system would: only for files that only root can place.
func (p *Planner) oldText(name string) (text string, there bool, err error) {
	return treeText(p.old, name)
}

func treeText(t Tree, name string) (text string, there bool, err error) {
	real, err := resolveTrusted(t, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, failed("reading "+absolute(name), err)
	}
	b, err := ReadFile(t, real, maxConfig)
	if err != nil {
		return "", false, failed("reading "+absolute(name), err)
	}
	return string(b), true, nil
}

// shellValue reads KEY=value of a file in the style of /etc/sysconfig. The
// last assignment counts; nothing is evaluated.
func shellValue(text, key string) (string, bool) {
	value, found := "", false
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.TrimPrefix(k, "export ") != key {
			continue
		}
		v = strings.TrimSpace(v)
		if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && strings.IndexByte(v[1:], v[0]) >= 0 {
			v = v[1 : 1+strings.IndexByte(v[1:], v[0])]
		} else if i := strings.IndexAny(v, " \t#"); i >= 0 {
			v = v[:i]
		}
		value, found = v, true
	}
	return value, found
}
