package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// applyRules plans what the policy's path rules name, but for what handlers
// answer for.
func (p *Planner) applyRules() error {
	found := map[string]Entry{}
	for i := range p.policy.Rules {
		r := &p.policy.Rules[i]
		if r.Drop {
			continue
		}
		list, err := Find(p.old, r.Pattern)
		if err != nil {
			return failed("looking for "+absolute(r.Pattern), err)
		}
		if err := p.missing(r, len(list)); err != nil {
			return err
		}
		for _, e := range list {
			found[e.Path] = e
		}
		if err := p.carryDeletions(r); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if err := p.carry(found[name]); err != nil {
			return err
		}
	}
	return nil
}

// missing does what a rule says about naming nothing.
func (p *Planner) missing(r *Rule, n int) error {
	if n > 0 {
		return nil
	}
	switch r.Missing {
	case MissingOK:
	case MissingWarn:
		p.Note(Warning, absolute(r.Pattern), "there is none (%s)", r.Origin)
	case MissingFail:
		return p.Refuse(absolute(r.Pattern), "there is none, and "+r.Origin+" says that there must be", "restore it, or change the policy")
	}
	return nil
}

// carry plans one entry that a rule named.
func (p *Planner) carry(e Entry) error {
	if p.claimed(e.Path) {
		return nil
	}
	r := p.policy.rule(e.Path)
	if r == nil || r.Drop { // nil: the pattern led through a link; ask again by its own name
		if r != nil {
			p.Dropped(e.Path)
			return nil
		}
		r = &Rule{When: WhenAlways, Limit: defaultLimit}
	}
	if e.Kind == KindDir {
		return p.carryDir(e)
	}
	if e.Kind == KindOther {
		p.Note(Dropped, absolute(e.Path), "device nodes, sockets and FIFOs are not carried")
		return nil
	}
	if e.Size > r.Limit && e.Kind == KindFile {
		return p.Refuse(absolute(e.Path), fmt.Sprintf("has %d bytes; the limit is %d", e.Size, r.Limit),
			"raise it with limit = \"…\" in the policy, or leave the file out with [[drop]]")
	}
	if r.When == WhenChanged {
		is, err := p.Changed(e.Path)
		if err != nil {
			return err
		}
		if !is {
			p.Note(Kept, absolute(e.Path), "never changed on this device")
			return nil
		}
	}
	if err := p.Copy(e.Path); err != nil {
		return err
	}
	if r.HasMode && e.Kind == KindFile {
		if op := p.ops[e.Path]; op != nil {
			op.Mode = r.Mode
		}
	}
	p.Note(Carried, absolute(e.Path), "")
	return nil
}

// carryDir plans a directory that the new system does not have. One that it
// has keeps its own mode and owner: they are part of the image.
func (p *Planner) carryDir(e Entry) error {
	if n, err := p.new.Lstat(e.Path); err == nil && n.Kind == KindDir {
		return nil
	}
	return p.Copy(e.Path)
}

// carryDeletions removes from the new system what the old one no longer has:
// files of the old image that the customer deleted, where the rule compares
// three ways (a deletion is a change like any other), and files that are not
// the new image's own, but from a former life of a rollback's target.
func (p *Planner) carryDeletions(r *Rule) error {
	list, err := Find(p.new, r.Pattern)
	if err != nil {
		return failed("looking for "+absolute(r.Pattern)+" in the new system", err)
	}
	for _, e := range list {
		if e.Kind == KindDir || p.claimed(e.Path) {
			continue
		}
		if rule := p.policy.rule(e.Path); rule == nil || rule.Drop {
			continue
		}
		_, err := p.old.Lstat(e.Path)
		if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, errMounted) {
			continue
		}
		name := absolute(e.Path)
		deleted := r.When == WhenChanged && p.oldDefaults.covers(e.Path) && p.oldDefaults.Files[name] != ""
		foreign := p.newDefaults.covers(e.Path) && p.newDefaults.Files[name] == ""
		if !deleted && !foreign {
			continue
		}
		if err := p.Remove(e.Path); err != nil {
			return err
		}
		p.Note(Carried, name, "deleted on this device, and so in the new system")
	}
	return nil
}
