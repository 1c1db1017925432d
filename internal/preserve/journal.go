package preserve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
)

// journalFile is in the new system. Apply writes it before anything else, so
// that the next plan sees the new system as its image has it, whatever an
// interrupted or outdated restore left there. Without it a key that was
// revoked between two attempts would work in the new system.
const journalFile = "var/lib/abupdate/restore.tar"

// journalIndex is the file of the archive that says what was there.
const journalIndex = "index.json"

// journal is what a restore found, and what it writes.
type journal struct {
	steps map[string]step
	was   Tree // the entries that were there, below "was"
}

// index is the content of journalIndex.
type index struct {
	// Life is how the signs of life were. When they are different, the system
	// has run since, and the journal is history: what is there now is right.
	Life  map[string]string `json:"life"`
	Steps map[string]step   `json:"steps"`
}

// step is one path of the journal.
type step struct {
	// Was tells whether there was something. It is in the archive then, but
	// for a change of owner, where only Owner is kept.
	Was   bool   `json:"was"`
	Owner *owner `json:"owner,omitempty"`
	// Wrote are the fingerprints of what restores wrote: when something else
	// is there now, the system has had a life of its own since.
	Wrote []string `json:"wrote"`
}

type owner struct {
	UID        int         `json:"uid"`
	GID        int         `json:"gid"`
	Mode       fs.FileMode `json:"mode"`
	Capability []byte      `json:"capability,omitempty"`
}

// maxJournal bounds the journal: the image's own small files.
const maxJournal = 1 << 30

// Forget removes the journal of the running system, below root. Call it when
// the system has proved itself: from then on it lives its own life.
func Forget(root *os.Root) error {
	err := root.Remove(journalFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("removing the journal of the restore", err)
	}
	return nil
}

func readJournal(new Tree) (*journal, error) {
	j := &journal{steps: map[string]step{}, was: newMemTree()}
	e, err := new.Lstat(journalFile)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err == nil {
		err = j.read(new, e)
	}
	if err != nil {
		return nil, failed("reading the journal of the last restore, "+absolute(journalFile), err)
	}
	return j, nil
}

func (j *journal) read(new Tree, e Entry) error {
	if e.Kind != KindFile || e.UID != 0 || e.Mode&0o022 != 0 {
		return errors.New("not a regular file of root's")
	}
	f, err := new.Open(journalFile)
	if err != nil {
		return err
	}
	defer f.Close()
	var at io.ReaderAt
	if _, ok := f.(io.ReaderAt); ok {
		// The tree outlives this descriptor: it opens the file anew each time.
		at = &reopened{tree: new, name: journalFile}
	} else { // not a mounted system
		b, err := io.ReadAll(io.LimitReader(f, maxJournal))
		if err != nil {
			return err
		}
		at, e.Size = bytes.NewReader(b), int64(len(b))
	}
	if j.was, err = readArchive(at, e.Size); err != nil {
		return err
	}
	b, err := ReadFile(j.was, journalIndex, maxDefaults)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var i index
	if err := dec.Decode(&i); err != nil {
		return err
	}
	now, err := lifeSigns(new)
	if err != nil {
		return err
	}
	if maps.Equal(now, i.Life) {
		j.steps = i.Steps
	}
	return nil
}

// lives are files that any boot of a system changes: one of them is in the
// slot, whatever a vendor keeps elsewhere.
var lives = []string{
	"var/log/wtmp", "var/log/lastlog", "var/log/boot.log", "var/log/dmesg", "var/log/messages", "var/log/tallylog",
	"var/lib/systemd/random-seed", "var/lib/random-seed", "var/lib/systemd/clock", "var/lib/systemd/timesync/clock",
	"var/log/journal", "var/lib/abupdate/booted",
}

// lifeSigns tells whether a system has run between two looks at it.
func lifeSigns(t Tree) (map[string]string, error) {
	signs := map[string]string{}
	for _, name := range lives {
		e, err := t.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if signs[name], err = fingerprint(t, e); err != nil {
			return nil, err
		}
		if e.Kind != KindDir {
			continue
		}
		list, err := t.ReadDir(name)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			signs[name] += " " + e.Name()
		}
	}
	return signs, nil
}

// reopened reads a tree's file by opening it each time.
type reopened struct {
	tree Tree
	name string
}

func (r *reopened) ReadAt(b []byte, off int64) (int, error) {
	f, err := r.tree.Open(r.name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok {
		return 0, errors.New("internal error: no random access")
	}
	return at.ReadAt(b, off)
}

// before returns the new system without what restores did to it.
func (j *journal) before(new Tree) (Tree, error) {
	ops, err := j.undoAll(new)
	if err != nil {
		return nil, failed("reading the journal of the last restore", err)
	}
	if len(ops) == 0 {
		return new, nil
	}
	return &resultTree{base: new, ops: ops, source: j.was}, nil
}

// undoAll returns what brings the new system back to how it was.
func (j *journal) undoAll(new Tree) (map[string]*Op, error) {
	ops := map[string]*Op{}
	for _, name := range slices.Sorted(maps.Keys(j.steps)) {
		op, needed, err := j.undo(name, new)
		if err != nil {
			return nil, err
		}
		if needed {
			ops[name] = op
		}
		if temp := tempName(name); Exists(new, temp) {
			ops[temp] = &Op{Kind: OpRemove, Path: temp}
		}
	}
	// The deepest first: a directory that a restore made goes when nothing is
	// left in it.
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(j.steps))) {
		e, err := new.Lstat(name)
		if err != nil || e.Kind != KindDir || j.steps[name].Was || j.steps[name].Owner != nil {
			continue
		}
		list, err := new.ReadDir(name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(list, func(e Entry) bool { return ops[e.Path] == nil || ops[e.Path].Kind != OpRemove }) {
			ops[name] = &Op{Kind: OpRemove, Path: name}
		}
	}
	return ops, nil
}

// undo returns what brings a path back to how it was. It is not needed where
// it is so, or something else has changed it since.
func (j *journal) undo(name string, new Tree) (op *Op, needed bool, err error) {
	s := j.steps[name]
	e, err := new.Lstat(name)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	if s.Owner != nil {
		op := &Op{Kind: OpOwner, Path: name, UID: s.Owner.UID, GID: s.Owner.GID, Mode: s.Owner.Mode}
		if s.Owner.Capability != nil {
			op.Xattrs = map[string]string{xattrCapability: string(s.Owner.Capability)}
		}
		return op, there, nil
	}
	is := "absent"
	if there {
		if is, err = fingerprint(new, e); err != nil {
			return nil, false, err
		}
	}
	if !slices.Contains(s.Wrote, is) {
		return nil, false, nil
	}
	if !s.Was {
		// Of a directory, undoAll knows what is in it.
		return &Op{Kind: OpRemove, Path: name}, !there || e.Kind != KindDir, nil
	}
	op, err = opFrom(j.was, path.Join("was", name), name)
	return op, true, err
}

// opFrom makes the operation that writes an entry of a tree to a path.
func opFrom(t Tree, from, to string) (*Op, error) {
	e, err := t.Lstat(from)
	if err != nil {
		return nil, err
	}
	op := &Op{Path: to, Mode: e.Mode, UID: e.UID, GID: e.GID}
	if op.Xattrs, err = t.Xattrs(from); err != nil {
		return nil, err
	}
	switch e.Kind {
	case KindFile:
		op.Kind, op.Size = OpWrite, e.Size
		op.Data, err = ReadFile(t, from, maxJournal)
	case KindDir:
		op.Kind = OpMkdir
	case KindSymlink:
		op.Kind = OpSymlink
		op.Target, err = t.Readlink(from)
	case KindOther:
		return nil, fmt.Errorf("internal error: %s is a special file", absolute(from))
	}
	return op, err
}

// revert plans to bring back what an earlier restore changed and this one
// leaves alone, and gives the plan the journal to write first.
func (j *journal) revert(p *Planner, new Tree) error {
	ops, err := j.undoAll(new)
	if err != nil {
		return failed("reading the journal of the last restore", err)
	}
	for name, op := range ops {
		if _, planned := p.ops[name]; !planned {
			p.ops[name], p.owners[name] = op, "the journal"
		}
	}
	p.plan.journal = j
	p.plan.lifeSigns, err = lifeSigns(new)
	return err
}
