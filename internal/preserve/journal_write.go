package preserve

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
)

// writeJournal encodes the journal of a plan: how everything that it touches was
// before the first restore.
func (p *Plan) writeJournal(w io.Writer) error {
	steps := map[string]step{}
	entries := map[string]Entry{}
	for i := range p.Ops {
		op := &p.Ops[i]
		s, err := p.journalStep(op)
		if err != nil {
			return err
		}
		steps[op.Path] = s
		if e, err := p.new.Lstat(op.Path); err == nil && s.Owner == nil && e.Kind != KindOther {
			entries[op.Path] = e
		}
	}
	index, err := json.Marshal(index{Life: p.lifeSigns, Steps: steps})
	if err != nil {
		return err
	}
	a, err := newArchiveWriter(w, Host{})
	if err != nil {
		return err
	}
	e := Entry{Path: journalIndex, Kind: KindFile, Mode: 0o600, Size: int64(len(index))}
	if err := a.add(e, "", nil, bytes.NewReader(index), sha256.Sum256(index)); err != nil {
		return err
	}
	was := movedTree{p.new}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		e.Path = path.Join("was", name)
		if err := a.addFrom(was, e); err != nil {
			return err
		}
	}
	return a.finish()
}

func (p *Plan) journalStep(op *Op) (step, error) {
	var s step
	if p.journal != nil {
		s = p.journal.steps[op.Path]
		s.Wrote = slices.Clone(s.Wrote)
	}
	e, err := p.new.Lstat(op.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s.Was, s.Owner = err == nil, nil
	if op.Kind == OpOwner {
		attrs, err := p.new.Xattrs(op.Path)
		if err != nil {
			return s, err
		}
		s.Owner = &owner{UID: e.UID, GID: e.GID, Mode: e.Mode}
		if c, ok := attrs[xattrCapability]; ok {
			s.Owner.Capability = []byte(c)
		}
	}
	if wrote := op.fingerprint(); !slices.Contains(s.Wrote, wrote) {
		s.Wrote = append(s.Wrote, wrote)
	}
	return s, nil
}

// fingerprint is what the function of that name says of the op's result.
func (op *Op) fingerprint() string {
	switch op.Kind {
	case OpWrite:
		sum := op.SHA256
		if op.Source == "" {
			sum = sha256.Sum256(op.Data)
		}
		return "sha256:" + hex.EncodeToString(sum[:])
	case OpMkdir:
		return "dir"
	case OpSymlink:
		return "link:" + op.Target
	case OpRemove:
		return "absent"
	case OpOwner:
	}
	return "owner"
}

// movedTree is a tree below "was".
type movedTree struct{ tree Tree }

func (t movedTree) real(name string) string { return name[len("was/"):] }

func (t movedTree) Lstat(name string) (Entry, error)        { return t.tree.Lstat(t.real(name)) }
func (t movedTree) ReadDir(name string) ([]Entry, error)    { return t.tree.ReadDir(t.real(name)) }
func (t movedTree) Open(name string) (io.ReadCloser, error) { return t.tree.Open(t.real(name)) }
func (t movedTree) Readlink(name string) (string, error)    { return t.tree.Readlink(t.real(name)) }
func (t movedTree) Xattrs(name string) (map[string]string, error) {
	return t.tree.Xattrs(t.real(name))
}
