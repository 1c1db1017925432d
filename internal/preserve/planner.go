package preserve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// NewPlan computes the restore from old into new: everything is read and
// checked, nothing is written. The new tree may be one that an earlier
// restore was interrupted in; the plan is the same as if it had never begun.
// A nil policy means LoadPolicy(old, new).
func NewPlan(ctx context.Context, old, new Tree, policy *Policy) (*Plan, error) {
	j, err := readJournal(new)
	if err != nil {
		return nil, err
	}
	pristine, err := j.before(new)
	if err != nil {
		return nil, err
	}
	if policy == nil {
		if policy, err = LoadPolicy(old, pristine); err != nil {
			return nil, err
		}
	}
	p := newPlanner(old, pristine, policy)
	if p.host, err = policy.Host.complete(old); err != nil {
		return nil, err
	}
	if p.oldDefaults, err = readDefaults(old); err != nil {
		return nil, err
	}
	if p.newDefaults, err = readDefaults(pristine); err != nil {
		return nil, err
	}
	if _, err := p.accounts(); err != nil {
		return nil, err
	}
	for _, h := range handlers() {
		if !policy.Enabled(h.Name()) {
			p.Note(Dropped, h.Name(), "switched off by the policy")
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, failed("planning", err)
		}
		p.handler = h.Name()
		if err := h.Plan(old, pristine, p); err != nil {
			return nil, failed("planning "+h.Name(), err)
		}
		p.handler = ""
	}
	if err := p.applyRules(); err != nil {
		return nil, err
	}
	return p.finish(j, new)
}

func newPlanner(old, new Tree, policy *Policy) *Planner {
	return &Planner{
		old: old, new: new, policy: policy,
		plan: &Plan{old: old, new: new},
		ops:  map[string]*Op{}, owners: map[string]string{},
		oldDefaults: &defaults{}, newDefaults: &defaults{},
	}
}

// finish turns what was collected into the plan. The journal is of new, the
// new system as it is now.
func (p *Planner) finish(j *journal, new Tree) (*Plan, error) {
	if p.ids != nil {
		if err := p.renumberFiles(p.ids.merged); err != nil {
			return nil, failed("looking for files of renumbered accounts", err)
		}
	}
	if err := j.revert(p, new); err != nil {
		return nil, err
	}
	if err := p.label(); err != nil {
		return nil, err
	}
	// Directories before what is in them, and the other way round where
	// something goes.
	names := slices.Sorted(maps.Keys(p.ops))
	for _, name := range names {
		if op := p.ops[name]; op.Kind != OpRemove {
			p.plan.Ops = append(p.plan.Ops, *op)
		}
	}
	for _, name := range slices.Backward(names) {
		if op := p.ops[name]; op.Kind == OpRemove {
			p.plan.Ops = append(p.plan.Ops, *op)
		}
	}
	p.plan.KernelArgs = strings.Join(p.args, " ")
	return p.plan, nil
}

// add takes an operation into the plan: its path is made one of the new
// system, without links, and its directories are planned too.
func (p *Planner) add(op *Op) error {
	name, err := Clean(op.Path)
	if err != nil || name == "." {
		return p.Refuse(op.Path, "no path for a file of the new system", "")
	}
	if op.Path, err = p.place(name); err != nil {
		return err
	}
	if err := p.fits(op); err != nil {
		return err
	}
	if op.Kind == OpWrite && op.Source == "" {
		op.Size = int64(len(op.Data))
	}
	who := p.handler
	if who == "" {
		who = "a policy rule"
	}
	if have, ok := p.ops[op.Path]; ok && p.owners[op.Path] != who && !sameResult(have, op) {
		return fmt.Errorf("internal error: %s is planned by both %s and %s", absolute(op.Path), p.owners[op.Path], who)
	}
	p.ops[op.Path], p.owners[op.Path] = op, who
	return nil
}

// sameResult lets two parts of the plan agree about a path.
func sameResult(a, b *Op) bool {
	return a.Kind == b.Kind && (a.Kind == OpMkdir || string(a.Data) == string(b.Data) && a.Source == b.Source && a.Target == b.Target)
}

// place resolves the directory of a path in the new system and plans what is
// missing of it. A link that somebody else than root may have made there is
// replaced by a directory, never followed.
func (p *Planner) place(name string) (string, error) {
	dir := "."
	parts := strings.Split(name, "/")
	for _, part := range parts[:len(parts)-1] {
		next := path.Join(dir, part)
		if op, ok := p.ops[next]; ok && op.Kind != OpOwner {
			if op.Kind != OpMkdir {
				return "", p.Refuse(absolute(name), fmt.Sprintf("its directory %s is planned to be no directory", absolute(next)), "")
			}
			dir = next
			continue
		}
		e, err := p.new.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.mkdirLike(next)
		case err != nil:
			return "", failed("looking at the new system", err)
		case e.Kind == KindDir:
		case e.Kind == KindSymlink && trusted(p.new, e) == nil:
			if next, err = Resolve(p.new, next); err != nil {
				return "", p.Refuse(absolute(name), fmt.Sprintf("its directory %s is a link in the new system that leads to nothing there", absolute(e.Path)),
					"what lies on another file system stays there by itself: leave this path out of the policy")
			}
			if d, err := p.new.Lstat(next); err != nil || d.Kind != KindDir {
				return "", p.Refuse(absolute(name), fmt.Sprintf("its directory %s leads to no directory in the new system", absolute(e.Path)), "")
			}
		case e.Kind == KindSymlink:
			p.Note(Warning, absolute(next), "is a link in the new system that is not root's: replaced by a directory")
			p.mkdirLike(next)
		default:
			return "", p.Refuse(absolute(name), fmt.Sprintf("%s is a %s in the new system", absolute(next), e.Kind), "")
		}
		dir = next
	}
	return path.Join(dir, parts[len(parts)-1]), nil
}

// mkdirLike plans a directory as the old system has it.
func (p *Planner) mkdirLike(name string) {
	op := &Op{Kind: OpMkdir, Path: name, Mode: 0o755}
	if e, err := p.old.Lstat(name); err == nil && e.Kind == KindDir {
		op.Mode = e.Mode & (fs.ModePerm | fs.ModeSticky | fs.ModeSetgid)
		op.UID, op.GID = p.MapUID(e.UID), p.MapGID(e.GID)
	}
	p.ops[name], p.owners[name] = op, p.handler
}

// fits refuses what the new system's entry at that place would not let happen.
func (p *Planner) fits(op *Op) error {
	e, err := p.new.Lstat(op.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed("looking at the new system", err)
	}
	if e.Kind == KindDir && (op.Kind == OpWrite || op.Kind == OpSymlink) {
		return p.Refuse(absolute(op.Path), "is a directory in the new system", "leave it out with a [[drop]] in /etc/abupdate/preserve.d")
	}
	if e.Kind != KindDir && op.Kind == OpMkdir && e.Kind != KindSymlink {
		return p.Refuse(absolute(op.Path), fmt.Sprintf("is a directory, but a %s in the new system", e.Kind), "leave it out with a [[drop]] in /etc/abupdate/preserve.d")
	}
	return nil
}

// Find returns what the patterns name in the old system, without what the
// policy drops (noted). Handlers that carry whole directories use it.
func (p *Planner) Find(patterns ...string) ([]Entry, error) {
	var list []Entry
	for _, pattern := range patterns {
		clean, err := cleanPattern(pattern)
		if err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
		found, err := Find(p.old, clean)
		if err != nil {
			return nil, failed("looking for "+absolute(clean), err)
		}
		for _, e := range found {
			if !p.Dropped(e.Path) {
				list = append(list, e)
			}
		}
	}
	return list, nil
}

// Dropped tells, and notes, that the policy leaves a path behind.
func (p *Planner) Dropped(name string) bool {
	name = strings.TrimPrefix(name, "/")
	r := p.policy.rule(name)
	if r == nil || !r.Drop {
		return false
	}
	why := r.Reason
	if why == "" {
		why = "left behind by " + r.Origin
	}
	p.Note(Dropped, absolute(name), "%s", why)
	return true
}

// claimed tells whether a handler answers for a path.
func (p *Planner) claimed(name string) bool {
	_, planned := p.ops[name]
	return planned || matchAny(p.claims, name)
}
