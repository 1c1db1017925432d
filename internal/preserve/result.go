package preserve

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// resultTree is a tree with operations done to it.
type resultTree struct {
	base   Tree
	ops    map[string]*Op
	source Tree // of Op.Source
}

func (t *resultTree) notExist(op, name string) error {
	return &fs.PathError{Op: op, Path: absolute(name), Err: fs.ErrNotExist}
}

// hidden tells whether a path lies below something that is a directory in the
// base only.
func (t *resultTree) hidden(name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if op, ok := t.ops[dir]; ok && op.Kind != OpOwner {
			return op.Kind != OpMkdir
		}
	}
	return false
}

func (t *resultTree) Lstat(name string) (Entry, error) {
	op, ok := t.ops[name]
	if !ok {
		if t.hidden(name) {
			return Entry{}, t.notExist("lstat", name)
		}
		return t.base.Lstat(name)
	}
	e := Entry{Path: name, Mode: op.Mode, UID: op.UID, GID: op.GID, Links: 1}
	switch op.Kind {
	case OpWrite:
		e.Kind, e.Size = KindFile, op.Size
	case OpMkdir:
		e.Kind = KindDir
	case OpSymlink:
		e.Kind, e.Mode = KindSymlink, fs.ModePerm
	case OpRemove:
		return Entry{}, t.notExist("lstat", name)
	case OpOwner:
		e, err := t.base.Lstat(name)
		e.UID, e.GID, e.Mode = op.UID, op.GID, op.Mode
		return e, err
	}
	return e, nil
}

func (t *resultTree) ReadDir(name string) ([]Entry, error) {
	e, err := t.Lstat(name)
	if err != nil {
		return nil, err
	}
	if e.Kind != KindDir {
		return nil, &fs.PathError{Op: "readdir", Path: absolute(name), Err: errNoDir}
	}
	names := map[string]bool{}
	if b, err := t.base.Lstat(name); err == nil && b.Kind == KindDir && !t.hidden(name) {
		list, err := t.base.ReadDir(name)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			names[e.Path] = true
		}
	}
	for p := range t.ops {
		if path.Dir(p) == name {
			names[p] = true
		}
	}
	var list []Entry
	for p := range names {
		if e, err := t.Lstat(p); err == nil {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func (t *resultTree) Open(name string) (io.ReadCloser, error) {
	op, ok := t.ops[name]
	switch {
	case ok && op.Kind == OpWrite && op.Source != "":
		return t.source.Open(op.Source)
	case ok && op.Kind == OpWrite:
		return io.NopCloser(bytes.NewReader(op.Data)), nil
	case ok && op.Kind != OpOwner:
		if op.Kind == OpRemove {
			return nil, t.notExist("open", name)
		}
		return nil, &fs.PathError{Op: "open", Path: absolute(name), Err: errNoFile}
	case t.hidden(name):
		return nil, t.notExist("open", name)
	}
	return t.base.Open(name)
}

func (t *resultTree) Readlink(name string) (string, error) {
	op, ok := t.ops[name]
	switch {
	case ok && op.Kind == OpSymlink:
		return op.Target, nil
	case ok && op.Kind != OpOwner:
		return "", &fs.PathError{Op: "readlink", Path: absolute(name), Err: fs.ErrInvalid}
	case t.hidden(name):
		return "", t.notExist("readlink", name)
	}
	return t.base.Readlink(name)
}

func (t *resultTree) Xattrs(name string) (map[string]string, error) {
	op, ok := t.ops[name]
	switch {
	case ok && op.Kind != OpOwner:
		return op.Xattrs, nil
	case t.hidden(name):
		return nil, t.notExist("listxattr", name)
	}
	attrs, err := t.base.Xattrs(name)
	if c, has := opCapability(op); has {
		attrs = maps.Clone(attrs)
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[xattrCapability] = c
	}
	return attrs, err
}

func opCapability(op *Op) (string, bool) {
	if op == nil {
		return "", false
	}
	c, ok := op.Xattrs[xattrCapability]
	return c, ok
}
