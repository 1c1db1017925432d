// Package mkfs makes small file systems without root and without foreign
// programs: the ext4 of abboot and the FAT of the EFI system partition.
//
// Invariant: the same arguments give the same bytes, and every file is one
// contiguous run of written blocks, because abboot's files are later changed
// in place by disk address and read by GRUB, which replays no journal. Start
// with Ext4 or FAT.
package mkfs

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// File is one regular file of the new file system. Its parent directories
// are made as needed.
type File struct {
	// Path is absolute and clean: "/grub/grub.cfg".
	Path string
	// Data is the content; or Content, for what is not to be held in memory:
	// its first Size bytes.
	Data    []byte
	Content io.ReaderAt
	// Size preallocates: where it is larger than len(Data) the rest of the
	// file is zeros, written to disk. 0 means len(Data).
	Size int64
}

func (f File) size() int64 { return max(f.Size, int64(len(f.Data))) }

// content returns the file's bytes and how many there are, zeros behind them
// not counted.
func (f File) content() (io.ReaderAt, int64) {
	if f.Content != nil {
		return f.Content, f.Size
	}
	return bytes.NewReader(f.Data), int64(len(f.Data))
}

// Extent is the place of a file: the bytes [Off, Off+Len) from the start of
// the file system.
type Extent struct{ Off, Len int64 }

// node is a file or a directory of the tree to be made.
type node struct {
	name     string
	file     *File // nil: a directory
	children []*node

	inode uint32 // ext4: the inode number
	first uint32 // the first block (ext4) or cluster (FAT); 0: no content
	count uint32 // blocks or clusters
}

func (n *node) isDir() bool { return n.file == nil }

// subdirs counts the directories directly below n.
func (n *node) subdirs() int {
	count := 0
	for _, c := range n.children {
		if c.isDir() {
			count++
		}
	}
	return count
}

// walk calls visit for n and everything below it, parents first.
func (n *node) walk(visit func(n, parent *node)) {
	visit(n, n)
	n.walkBelow(visit)
}

func (n *node) walkBelow(visit func(n, parent *node)) {
	for _, c := range n.children {
		visit(c, n)
		c.walkBelow(visit)
	}
}

// maxName is the longest name that a directory entry of ext4 holds.
const maxName = 255

// buildTree turns the list of files into a tree whose children are sorted,
// so that the order of the arguments does not show in the result.
func buildTree(files []File) (*node, error) {
	root := &node{}
	dirs := map[string]*node{"/": root}
	for i := range files {
		f := &files[i]
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) {
			return nil, fmt.Errorf("file %q: not a clean absolute path", f.Path)
		}
		if f.Content != nil && f.Data != nil {
			return nil, fmt.Errorf("file %q: both Data and Content", f.Path)
		}
		if f.Size < 0 {
			return nil, fmt.Errorf("file %q: size %d is negative", f.Path, f.Size)
		}
		dir, name := path.Split(f.Path)
		if len(name) > maxName {
			return nil, fmt.Errorf("file %q: name longer than %d bytes", f.Path, maxName)
		}
		parent, err := mkdirAll(dirs, path.Clean(dir))
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", f.Path, err)
		}
		parent.children = append(parent.children, &node{name: name, file: f})
	}
	var dup error
	root.walk(func(n, _ *node) {
		slices.SortFunc(n.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
		for i := 1; i < len(n.children); i++ {
			if n.children[i].name == n.children[i-1].name {
				dup = fmt.Errorf("%q is given twice", n.children[i].name)
			}
		}
	})
	return root, dup
}

// mkdirAll returns the node of the directory dir, made with its parents.
func mkdirAll(dirs map[string]*node, dir string) (*node, error) {
	if d, ok := dirs[dir]; ok {
		return d, nil
	}
	above, name := path.Split(dir)
	if len(name) > maxName {
		return nil, fmt.Errorf("directory %q: name longer than %d bytes", dir, maxName)
	}
	parent, err := mkdirAll(dirs, path.Clean(above))
	if err != nil {
		return nil, err
	}
	d := &node{name: name}
	parent.children = append(parent.children, d)
	dirs[dir] = d
	return d, nil
}
