package preserve

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// crashFS is a target, and a Tree, in memory. It knows what is durable: a
// file's content and attributes after its Sync, a name after the Sync of its
// directory. Each step may be the last before a power cut, or fail.
type crashFS struct {
	dirs    map[string]map[string]*inode // as seen now
	durable map[string]map[string]*inode
	pending []nameOp

	steps  int
	cutAt  int // the step before which power fails; -1 never
	failAt int // the step that fails; -1 never
	errno  unix.Errno
	sticky bool // and all steps after it
	down   bool
}

type inode struct {
	now, durable inodeState
}

type inodeState struct {
	kind     Kind
	content  string
	mode     fs.FileMode
	uid, gid int
	xattrs   map[string]string
	target   string
}

// nameOp is a change to a directory that is not durable yet.
type nameOp struct {
	dirs []string
	do   func(dirs map[string]map[string]*inode)
}

var errCut = errors.New("power cut")

// newCrashFS copies a tree.
func newCrashFS(tb testing.TB, t Tree) *crashFS {
	tb.Helper()
	c := &crashFS{dirs: map[string]map[string]*inode{".": {}}, cutAt: -1, failAt: -1}
	err := walk(t, ".", func(e Entry) error {
		if e.Path == "." {
			return nil
		}
		s := inodeState{kind: e.Kind, mode: e.Mode, uid: e.UID, gid: e.GID}
		var err error
		switch e.Kind {
		case KindFile:
			var b []byte
			b, err = ReadFile(t, e.Path, 1<<30)
			s.content = string(b)
		case KindSymlink:
			s.target, err = t.Readlink(e.Path)
		case KindDir:
			c.dirs[e.Path] = map[string]*inode{}
		case KindOther:
		}
		if err != nil {
			return err
		}
		if s.xattrs, err = t.Xattrs(e.Path); err != nil {
			return err
		}
		c.dirs[path.Dir(e.Path)][path.Base(e.Path)] = &inode{s, s}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	c.durable = cloneDirs(c.dirs)
	return c
}

func cloneDirs(dirs map[string]map[string]*inode) map[string]map[string]*inode {
	to := map[string]map[string]*inode{}
	for d, names := range dirs {
		to[d] = maps.Clone(names)
	}
	return to
}

// step counts an operation; it is where power fails, or the disk.
func (c *crashFS) step() error {
	n := c.steps
	c.steps++
	switch {
	case c.down || n == c.cutAt:
		c.down = true
		return errCut
	case c.failAt >= 0 && (n == c.failAt || c.sticky && n > c.failAt):
		return c.errno
	}
	return nil
}

// settle is what a power cut leaves of what was not durable.
type settle func() bool

func settleNothing() bool    { return false }
func settleEverything() bool { return true }

func settleSome(seed uint64) settle {
	rng := rand.New(rand.NewPCG(seed, 1))
	return func() bool { return rng.IntN(2) == 0 }
}

// crash returns what is there after the cut.
func (c *crashFS) crash(keep settle) *crashFS {
	dirs := cloneDirs(c.durable)
	for _, op := range c.pending {
		if keep() {
			op.do(dirs)
		}
	}
	// What is reachable has its inode's content, durable or newer.
	seen := map[*inode]*inode{}
	to := map[string]map[string]*inode{".": {}}
	var visit func(dir string)
	visit = func(dir string) {
		for _, name := range slices.Sorted(maps.Keys(dirs[dir])) {
			old := dirs[dir][name]
			if seen[old] == nil {
				s := old.durable
				if keep() {
					s = old.now
				}
				if s.kind == 0 {
					s = inodeState{kind: old.now.kind, target: old.now.target}
				}
				seen[old] = &inode{s, s}
			}
			to[dir][name] = seen[old]
			if p := path.Join(dir, name); old.now.kind == KindDir {
				to[p] = map[string]*inode{}
				visit(p)
			}
		}
	}
	visit(".")
	return &crashFS{dirs: to, durable: cloneDirs(to), cutAt: -1, failAt: -1}
}

func (c *crashFS) get(op, name string) (*inode, error) {
	if name == "." {
		return &inode{now: inodeState{kind: KindDir, mode: 0o755}}, nil
	}
	if names, ok := c.dirs[path.Dir(name)]; ok {
		if n, ok := names[path.Base(name)]; ok {
			return n, nil
		}
	}
	return nil, &fs.PathError{Op: op, Path: "/" + name, Err: fs.ErrNotExist}
}

// change does a change of names, now, and durably when the directories are synced.
func (c *crashFS) change(do func(map[string]map[string]*inode), dirs ...string) {
	do(c.dirs)
	c.pending = append(c.pending, nameOp{dirs, func(d map[string]map[string]*inode) {
		for _, dir := range dirs {
			if d[dir] == nil {
				return // its directory is not there
			}
		}
		do(d)
	}})
}

func (c *crashFS) Create(name string) (targetFile, error) {
	if err := c.step(); err != nil {
		return nil, err
	}
	if _, err := c.get("create", name); err == nil {
		return nil, fs.ErrExist
	}
	n := &inode{now: inodeState{kind: KindFile, mode: 0o600}}
	return &crashFile{c, n}, c.link(name, n)
}

func (c *crashFS) link(name string, n *inode) error {
	dir, base := path.Dir(name), path.Base(name)
	if c.dirs[dir] == nil {
		return fs.ErrNotExist
	}
	c.change(func(d map[string]map[string]*inode) {
		d[dir][base] = n
		if n.now.kind == KindDir && d[name] == nil {
			d[name] = map[string]*inode{}
		}
	}, dir)
	return nil
}

func (c *crashFS) Mkdir(name string) error {
	if err := c.step(); err != nil {
		return err
	}
	if _, err := c.get("mkdir", name); err == nil {
		return fs.ErrExist
	}
	return c.link(name, &inode{now: inodeState{kind: KindDir, mode: 0o700}})
}

func (c *crashFS) Symlink(to, name string) error {
	if err := c.step(); err != nil {
		return err
	}
	if _, err := c.get("symlink", name); err == nil {
		return fs.ErrExist
	}
	return c.link(name, &inode{now: inodeState{kind: KindSymlink, mode: fs.ModePerm, target: to}})
}

func (c *crashFS) Rename(from, to string) error {
	if err := c.step(); err != nil {
		return err
	}
	n, err := c.get("rename", from)
	if err != nil {
		return err
	}
	if have, err := c.get("rename", to); err == nil && have.now.kind == KindDir {
		return unix.EISDIR
	}
	c.change(func(d map[string]map[string]*inode) {
		delete(d[path.Dir(from)], path.Base(from))
		d[path.Dir(to)][path.Base(to)] = n
	}, path.Dir(from), path.Dir(to))
	return nil
}

func (c *crashFS) Remove(name string) error {
	if err := c.step(); err != nil {
		return err
	}
	n, err := c.get("remove", name)
	if err != nil {
		return err
	}
	if n.now.kind == KindDir && len(c.dirs[name]) > 0 {
		return unix.ENOTEMPTY
	}
	c.change(func(d map[string]map[string]*inode) {
		delete(d[path.Dir(name)], path.Base(name))
		delete(d, name)
	}, path.Dir(name))
	return nil
}

func (c *crashFS) Chown(name string, uid, gid int) error {
	return c.set(name, func(s *inodeState) {
		s.uid, s.gid = uid, gid
		if s.kind == KindFile {
			s.mode &^= fs.ModeSetuid | fs.ModeSetgid
			s.xattrs = maps.Clone(s.xattrs)
			delete(s.xattrs, xattrCapability)
		}
	})
}

func (c *crashFS) Chmod(name string, mode fs.FileMode) error {
	return c.set(name, func(s *inodeState) { s.mode = mode })
}

func (c *crashFS) SetXattr(name, attr, value string) error {
	return c.set(name, func(s *inodeState) { s.setXattr(attr, value) })
}

func (s *inodeState) setXattr(attr, value string) {
	s.xattrs = maps.Clone(s.xattrs)
	if s.xattrs == nil {
		s.xattrs = map[string]string{}
	}
	s.xattrs[attr] = value
}

func (c *crashFS) set(name string, f func(*inodeState)) error {
	if err := c.step(); err != nil {
		return err
	}
	n, err := c.get("set", name)
	if err != nil {
		return err
	}
	f(&n.now)
	return nil
}

func (c *crashFS) Sync(name string) error {
	if err := c.step(); err != nil {
		return err
	}
	n, err := c.get("sync", name)
	if err != nil {
		return err
	}
	n.durable = n.now
	var rest []nameOp
	for _, op := range c.pending {
		if slices.Contains(op.dirs, name) {
			op.do(c.durable)
		} else {
			rest = append(rest, op)
		}
	}
	c.pending = rest
	return nil
}

func (c *crashFS) SyncAll() error {
	if err := c.step(); err != nil {
		return err
	}
	for _, op := range c.pending {
		op.do(c.durable)
	}
	c.pending = nil
	for _, names := range c.dirs {
		for _, n := range names {
			n.durable = n.now
		}
	}
	return nil
}

func (c *crashFS) Free() (int64, error) { return 1 << 40, nil }

type crashFile struct {
	fs *crashFS
	n  *inode
}

func (f *crashFile) Write(b []byte) (int, error) {
	if err := f.fs.step(); err != nil {
		// Half of it is there all the same.
		f.n.now.content += string(b[:len(b)/2])
		return len(b) / 2, err
	}
	f.n.now.content += string(b)
	return len(b), nil
}

func (f *crashFile) do(g func(*inodeState)) error {
	if err := f.fs.step(); err != nil {
		return err
	}
	g(&f.n.now)
	return nil
}

func (f *crashFile) Chown(uid, gid int) error {
	return f.do(func(s *inodeState) { s.uid, s.gid = uid, gid })
}

func (f *crashFile) Chmod(mode fs.FileMode) error {
	return f.do(func(s *inodeState) { s.mode = mode })
}

func (f *crashFile) SetXattr(attr, value string) error {
	return f.do(func(s *inodeState) { s.setXattr(attr, value) })
}

func (f *crashFile) Sync() error {
	return f.do(func(s *inodeState) { f.n.durable = *s })
}
func (f *crashFile) Close() error { return f.do(func(*inodeState) {}) }

// As a Tree it counts no steps.

func (n *inode) entry(name string) Entry {
	s := n.now
	return Entry{Path: name, Kind: s.kind, Mode: s.mode, UID: s.uid, GID: s.gid, Size: int64(len(s.content)), Links: 1}
}

func (c *crashFS) Lstat(name string) (Entry, error) {
	n, err := c.get("lstat", name)
	if err != nil {
		return Entry{}, err
	}
	return n.entry(name), nil
}

func (c *crashFS) ReadDir(name string) ([]Entry, error) {
	names, ok := c.dirs[name]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: "/" + name, Err: fs.ErrNotExist}
	}
	var list []Entry
	for _, base := range slices.Sorted(maps.Keys(names)) {
		list = append(list, names[base].entry(path.Join(name, base)))
	}
	return list, nil
}

func (c *crashFS) Open(name string) (io.ReadCloser, error) {
	n, err := c.get("open", name)
	if err != nil {
		return nil, err
	}
	if n.now.kind != KindFile {
		return nil, &fs.PathError{Op: "open", Path: "/" + name, Err: errNoFile}
	}
	return io.NopCloser(bytes.NewReader([]byte(n.now.content))), nil
}

func (c *crashFS) Readlink(name string) (string, error) {
	n, err := c.get("readlink", name)
	if err != nil {
		return "", err
	}
	return n.now.target, nil
}

func (c *crashFS) Xattrs(name string) (map[string]string, error) {
	n, err := c.get("listxattr", name)
	if err != nil {
		return nil, err
	}
	return n.now.xattrs, nil
}
