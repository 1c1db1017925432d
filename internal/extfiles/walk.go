package extfiles

import (
	"encoding/binary"
	"fmt"
	"path"
)

// Modes and flags of an inode.
const (
	modeMask, modeDir = 0xF000, 0x4000
	flagExtents       = 0x80000
	flagInline        = 0x10000000
)

// The inodes without a name that own blocks.
var nameless = map[uint32]string{7: "(reserved group descriptors)", 8: "(journal)"}

// walk visits every inode that a directory leads to, once, and the journal.
func (r *reader) walk() error {
	for n, name := range nameless {
		if err := r.visit(n, name, nil); err != nil {
			return err
		}
	}
	todo := []uint32{rootInode}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := r.visit(n, r.paths[n], func(name string, child uint32) {
			// A name met before is a hard link; a directory has one name only,
			// so a loop of directories ends here too.
			if _, known := r.paths[child]; known {
				return
			}
			full := path.Join(r.paths[n], name)
			if len(full) > maxName {
				return
			}
			r.paths[child] = full
			todo = append(todo, child)
		})
		if err != nil {
			return fmt.Errorf("%q: %w", r.paths[n], err)
		}
	}
	return nil
}

// visit notes the extents of an inode and, of a directory, its entries.
func (r *reader) visit(n uint32, name string, entry func(name string, child uint32)) error {
	in, err := r.inode(n)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	mode, flags := le.Uint16(in)&modeMask, le.Uint32(in[0x20:])
	if flags&flagInline != 0 {
		// Small enough for the inode. Of a directory, the first entries lie
		// behind the parent's number; what overflows into an attribute is
		// left without a name.
		if mode == modeDir && entry != nil {
			entries(in[0x28+4:0x28+60], entry)
		}
		return nil
	}
	if flags&flagExtents == 0 {
		// A device, or a file of ext2 and ext3 with block pointers: mke2fs
		// for ext4 makes none but inode 7.
		return nil
	}
	from := len(r.extents)
	if err := r.tree(in[0x28:0x28+60], Extent{Path: name, Modified: le.Uint32(in[0x10:])}, maxDepth); err != nil {
		return err
	}
	if mode != modeDir || entry == nil {
		return nil
	}
	for _, e := range r.extents[from:] {
		for at := e.Off; at < e.Off+e.Len; at += r.blockSize {
			b, err := r.block(at / r.blockSize)
			if err != nil {
				return err
			}
			entries(b, entry)
		}
	}
	return nil
}

// tree walks an extent tree of a file from a node on; depth bounds it whatever
// it says.
func (r *reader) tree(node []byte, file Extent, depth int) error {
	le := binary.LittleEndian
	if len(node) < 12 || le.Uint16(node) != 0xF30A {
		return fmt.Errorf("%w: a bad extent tree", ErrNotExt)
	}
	count, level := int(le.Uint16(node[2:])), le.Uint16(node[6:])
	if 12+12*count > len(node) || int(level) > depth || depth == 0 {
		return fmt.Errorf("%w: a bad extent tree", ErrNotExt)
	}
	for i := range count {
		e := node[12+12*i:][:12]
		if level > 0 {
			child, err := r.block(int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32)
			if err != nil {
				return err
			}
			if le.Uint16(child[6:]) >= level {
				return fmt.Errorf("%w: a bad extent tree", ErrNotExt)
			}
			if err := r.tree(child, file, depth-1); err != nil {
				return err
			}
			continue
		}
		length := int64(le.Uint16(e[4:]))
		if length > 32768 { // unwritten
			length -= 32768
		}
		start := int64(le.Uint32(e[8:])) | int64(le.Uint16(e[6:]))<<32
		if start <= 0 || length == 0 || start > r.blocks-length {
			return fmt.Errorf("%w: blocks [%d, %d) of %d", ErrNotExt, start, start+length, r.blocks)
		}
		if len(r.extents) == maxExtents {
			return fmt.Errorf("%w: more than %d extents", ErrNotExt, maxExtents)
		}
		file.Off, file.Len = start*r.blockSize, length*r.blockSize
		r.extents = append(r.extents, file)
	}
	return nil
}

// entries calls fn for the entries of a directory block. The inner blocks of
// an indexed directory look like empty ones, as does a checksum at the end.
func entries(b []byte, fn func(name string, inode uint32)) {
	le := binary.LittleEndian
	for len(b) >= 8 {
		length, nameLen := int(le.Uint16(b[4:])), int(b[6])
		if length < 8 || length > len(b) || 8+nameLen > length {
			return
		}
		name := string(b[8 : 8+nameLen])
		if inode := le.Uint32(b); inode != 0 && name != "." && name != ".." && nameLen > 0 {
			fn(name, inode)
		}
		b = b[length:]
	}
}
