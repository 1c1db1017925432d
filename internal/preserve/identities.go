package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// identities are who the old system's ids are in the new one.
type identities struct{ *merged }

// accounts returns the merged database; without the users handler it is the
// new system's own, and ids are still translated by name.
func (p *Planner) accounts() (*merged, error) {
	if p.ids != nil {
		return p.ids.merged, nil
	}
	old, err := readAccounts(p.old)
	if err != nil {
		return nil, err
	}
	new, err := readAccounts(p.new)
	if err != nil {
		return nil, err
	}
	var m *merged
	if p.policy.Enabled("users") {
		m = mergeAccounts(old, new)
	} else {
		m = keepAccounts(old, new)
	}
	p.ids = &identities{m}
	return m, nil
}

// keepAccounts is mergeAccounts that takes nothing over.
func keepAccounts(old, new *accounts) *merged {
	m := &merged{
		old: old, new: new, users: new.users, groups: new.groups,
		fromOld: map[string]bool{}, groupOld: map[string]bool{}, uids: map[int]int{}, gids: map[int]int{},
	}
	m.mapIDs()
	return m
}

// MapUID translates an owner of the old system by name. A number without a
// name stays, unless it is another account's in the new system: then the file
// is root's there.
func (p *Planner) MapUID(uid int) int {
	m, err := p.accounts()
	if err != nil {
		return 0
	}
	return m.uid(uid)
}

// MapGID is MapUID for groups.
func (p *Planner) MapGID(gid int) int {
	m, err := p.accounts()
	if err != nil {
		return 0
	}
	return m.gid(gid)
}

// renumberFiles gives the files of the new image's renumbered accounts to
// their new numbers.
func (p *Planner) renumberFiles(m *merged) error {
	if len(m.renumbered) == 0 && len(m.regrouped) == 0 {
		return nil
	}
	return walk(p.new, ".", func(e Entry) error {
		uid, moved := m.renumbered[e.UID]
		if !moved {
			uid = e.UID
		}
		gid, regrouped := m.regrouped[e.GID]
		if !regrouped {
			gid = e.GID
		}
		if _, planned := p.ops[e.Path]; planned || !moved && !regrouped || e.Path == "." {
			return nil
		}
		op := &Op{Kind: OpOwner, Path: e.Path, Mode: e.Mode, UID: uid, GID: gid}
		if e.Kind == KindFile {
			// chown takes capabilities away, as it does setuid.
			attrs, err := p.new.Xattrs(e.Path)
			if err != nil {
				return err
			}
			if c, ok := attrs[xattrCapability]; ok {
				op.Xattrs = map[string]string{xattrCapability: c}
			}
		}
		p.ops[e.Path], p.owners[e.Path] = op, p.handler
		return nil
	})
}

// maxDepth bounds a walk; a path of maxPath bytes is no deeper.
const maxDepth = maxPath / 2

// walk visits a directory and all below it, not following links.
func walk(t Tree, dir string, visit func(Entry) error) error {
	e, err := t.Lstat(dir)
	if err != nil {
		return err
	}
	return walkEntry(t, e, 0, visit)
}

func walkEntry(t Tree, e Entry, depth int, visit func(Entry) error) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: too deep", path.Dir(absolute(e.Path)))
	}
	if err := visit(e); err != nil || e.Kind != KindDir {
		return err
	}
	list, err := t.ReadDir(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range list {
		if err := walkEntry(t, child, depth+1, visit); err != nil {
			return err
		}
	}
	return nil
}
