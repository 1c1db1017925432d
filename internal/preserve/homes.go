package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// homeOf returns the path of a home that is one.
func homeOf(u *user) (string, bool) {
	home, err := Clean(u.home)
	if err != nil || !strings.HasPrefix(u.home, "/") || home == "." {
		return "", false
	}
	switch strings.SplitN(home, "/", 2)[0] {
	case "proc", "sys", "dev", "run":
		return "", false
	}
	return home, true
}

// carryHome plans the home of an account that is in both systems, and the
// keys in it. The rest of a home is data: a path rule may name it.
func (h users) carryHome(p *Planner, m *merged, o, u *user) error {
	home, ok := homeOf(o)
	if !ok || home != path.Clean(strings.TrimPrefix(u.home, "/")) {
		return nil
	}
	from, err := resolveTrusted(p.old, home)
	if errors.Is(err, fs.ErrNotExist) {
		if errors.Is(err, errMounted) {
			p.Note(Kept, absolute(home), "on another file system, which stays")
		}
		return nil
	}
	if err != nil {
		return failed("looking at "+absolute(home), err)
	}
	e, err := p.old.Lstat(from)
	if err != nil || e.Kind != KindDir {
		return err
	}
	if m.fromOld[u.name] && e.UID == o.uid {
		if err := h.makeHome(p, u, from, home); err != nil {
			return err
		}
	}
	if err := h.carryKeys(p, from, home); err != nil {
		return err
	}
	return h.dropKeys(p, from, home)
}

// makeHome plans the home itself, and the files that a new account gets.
func (users) makeHome(p *Planner, u *user, from, home string) error {
	if at, err := resolveTrusted(p.new, home); err == nil {
		if n, err := p.new.Lstat(at); err == nil && n.Kind == KindDir && n.UID == u.uid {
			return nil // it is there already
		}
	}
	if err := p.CopyTo(from, home); err != nil {
		return err
	}
	skel, err := Find(p.new, "etc/skel/.*") // there need not be any
	if err != nil || !loginShell(u.shell) {
		return err
	}
	for _, s := range skel {
		if s.Kind != KindFile {
			continue
		}
		own := path.Join(from, s.Name())
		e, err := p.old.Lstat(own)
		switch {
		case err == nil && e.Kind == KindFile && e.Size <= inline:
			err = p.CopyTo(own, path.Join(home, s.Name()))
		case errors.Is(err, fs.ErrNotExist):
			var b []byte
			if b, err = ReadFile(p.new, s.Path, inline); err == nil {
				err = p.Write(path.Join(home, s.Name()), b, s.Mode, u.uid, u.gid)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Bounds of a .ssh directory: it is the user's own, who may put anything there.
const (
	maxKeyFile  = 1 << 20
	maxKeyFiles = 1000
)

// carryKeys plans a home's .ssh. What is in it keeps its owner: a file that
// is a hard link to somebody else's does not become the user's.
func (users) carryKeys(p *Planner, from, home string) error {
	dir, err := p.old.Lstat(path.Join(from, ".ssh"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	found := []Entry{dir} // a link is carried as a link
	if err == nil && dir.Kind == KindDir {
		found, err = Find(p.old, literal(dir.Path)+"/**")
	}
	if err != nil {
		return failed("looking for keys in "+absolute(home), err)
	}
	n := 0
	for _, e := range found {
		to := path.Join(home, strings.TrimPrefix(e.Path, from))
		if p.Dropped(to) {
			continue
		}
		why := ""
		switch n++; {
		case n > maxKeyFiles:
			why = fmt.Sprintf("more than %d files", maxKeyFiles)
		case e.Kind == KindOther:
			why = "a special file"
		case e.Kind == KindFile && e.Size > maxKeyFile:
			why = fmt.Sprintf("larger than %d bytes", maxKeyFile)
		case e.Path == path.Join(from, ".ssh") && e.Kind != KindDir && e.Kind != KindSymlink:
			why = "no directory"
		}
		if why != "" {
			p.Note(Warning, absolute(to), "not carried: %s", why)
			if n > maxKeyFiles {
				return nil
			}
			continue
		}
		if err := p.CopyTo(e.Path, to); err != nil {
			return err
		}
	}
	return nil
}

// dropKeys removes from the new system the keys that the old one does not
// have: of the image, or revoked since a rollback's target ran.
func (users) dropKeys(p *Planner, from, home string) error {
	for _, name := range []string{"authorized_keys", "authorized_keys2"} {
		at, err := resolveTrusted(p.new, path.Join(home, ".ssh"))
		if err != nil {
			continue // there is none, or it is replaced
		}
		at = path.Join(at, name)
		if Exists(p.new, at) && !Exists(p.old, path.Join(from, ".ssh", name)) && p.ops[at] == nil {
			if err := p.Remove(at); err != nil {
				return err
			}
			p.Note(Dropped, absolute(at), "keys of the new image: keys come from the old system")
		}
	}
	return nil
}
