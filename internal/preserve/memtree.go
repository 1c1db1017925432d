package preserve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// memTree is a Tree whose entries are in memory, and whose file contents are
// there or at an offset of an archive.
type memTree struct {
	nodes    map[string]*memNode
	children map[string][]string // directory → names, sorted by seal
	host     Host                // of an archive
}

type memNode struct {
	entry  Entry
	target string
	xattrs map[string]string
	open   func() (io.ReadCloser, error)
}

func newMemTree() *memTree {
	t := &memTree{nodes: map[string]*memNode{}, children: map[string][]string{}}
	t.nodes["."] = &memNode{entry: Entry{Path: ".", Kind: KindDir, Mode: 0o755}}
	return t
}

// put adds a node, and the directories above it where they are missing.
func (t *memTree) put(n *memNode) error {
	name := n.entry.Path
	if have, ok := t.nodes[name]; ok {
		if have.entry.Kind != KindDir || n.entry.Kind != KindDir {
			return fmt.Errorf("/%s: there twice", name)
		}
		*have = *n
		return nil
	}
	dir := path.Dir(name)
	if t.nodes[dir] == nil {
		if err := t.put(&memNode{entry: Entry{Path: dir, Kind: KindDir, Mode: 0o755}}); err != nil {
			return err
		}
	}
	if t.nodes[dir].entry.Kind != KindDir {
		return fmt.Errorf("/%s: /%s is no directory", name, dir)
	}
	t.nodes[name] = n
	t.children[dir] = append(t.children[dir], path.Base(name))
	return nil
}

func (t *memTree) seal() {
	for _, names := range t.children {
		slices.Sort(names)
	}
}

func (t *memTree) node(op, name string) (*memNode, error) {
	if n, ok := t.nodes[name]; ok {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: "/" + name, Err: fs.ErrNotExist}
}

func (t *memTree) Lstat(name string) (Entry, error) {
	n, err := t.node("lstat", name)
	if err != nil {
		return Entry{}, err
	}
	return n.entry, nil
}

func (t *memTree) ReadDir(name string) ([]Entry, error) {
	n, err := t.node("readdir", name)
	if err != nil {
		return nil, err
	}
	if n.entry.Kind != KindDir {
		return nil, &fs.PathError{Op: "readdir", Path: "/" + name, Err: errNoDir}
	}
	var list []Entry
	for _, child := range t.children[name] {
		list = append(list, t.nodes[path.Join(name, child)].entry)
	}
	return list, nil
}

func (t *memTree) Open(name string) (io.ReadCloser, error) {
	n, err := t.node("open", name)
	if err != nil {
		return nil, err
	}
	if n.entry.Kind != KindFile {
		return nil, &fs.PathError{Op: "open", Path: "/" + name, Err: errNoFile}
	}
	return n.open()
}

func (t *memTree) Readlink(name string) (string, error) {
	n, err := t.node("readlink", name)
	if err != nil {
		return "", err
	}
	if n.entry.Kind != KindSymlink {
		return "", &fs.PathError{Op: "readlink", Path: "/" + name, Err: fs.ErrInvalid}
	}
	return n.target, nil
}

func (t *memTree) Xattrs(name string) (map[string]string, error) {
	n, err := t.node("listxattr", name)
	if err != nil {
		return nil, err
	}
	return n.xattrs, nil
}

// Errors of every kind of tree.
var (
	errNoFile = errors.New("not a regular file")
	errNoDir  = errors.New("not a directory")
)

// inMemory opens content that is in memory.
func inMemory(content string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(content))), nil
	}
}

// absolute is a tree's path as the user knows it.
func absolute(name string) string {
	if name == "." {
		return "/"
	}
	return "/" + strings.TrimPrefix(name, "/")
}
