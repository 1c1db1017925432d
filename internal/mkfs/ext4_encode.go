package mkfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

// On-disk numbers, by the names of the kernel's Documentation/filesystems/ext4.
const (
	featureIncompatFiletype = 0x0002
	featureIncompatExtents  = 0x0040
	featureIncompatFlexBG   = 0x0200

	featureROSparseSuper = 0x0001
	featureROLargeFile   = 0x0002

	flagExtents = 0x80000
	extraIsize  = 32

	fileTypeRegular = 1
	fileTypeDir     = 2

	extentMagic   = 0xF30A
	maxExtents    = 4     // in an inode: depth 0
	maxExtentSize = 32768 // longer ones would mean "unwritten"

	logGroupsPerFlex = 7 // 128 groups: all that maxExt4Blocks allows
)

var le = binary.LittleEndian

// write writes all metadata, all files and all preallocated zeros. Blocks
// that nothing uses are left as they are.
func (fs *ext4) write(w io.WriterAt) error {
	put := func(block uint32, b []byte) error {
		_, err := w.WriteAt(b, int64(block)*blockSize)
		return err
	}
	descriptors := make([]byte, blockSize)
	for g := range fs.groups {
		copy(descriptors[g*descSize:], fs.descriptor(g))
	}
	for g := range fs.groups {
		if err := put(fs.blockBitmap(g), fs.blockBits(g)); err != nil {
			return err
		}
		if err := put(fs.inodeBitmap(g), fs.inodeBits(g)); err != nil {
			return err
		}
		if !hasSuper(g) {
			continue
		}
		super := make([]byte, blockSize)
		at := 0
		if g == 0 {
			at = 1024 // the boot sectors come first
		}
		copy(super[at:], fs.superblock(g))
		if err := put(g*blocksPerGroup, super); err != nil {
			return err
		}
		if err := put(g*blocksPerGroup+1, descriptors); err != nil {
			return err
		}
	}
	if err := put(fs.inodeTable(0), fs.allInodes()); err != nil {
		return err
	}
	var err error
	fs.root.walk(func(n, parent *node) {
		if err != nil || n.count == 0 {
			return
		}
		if n.isDir() {
			err = put(n.first, dirBlocks(n, parent))
		} else {
			err = writePadded(w, int64(n.first)*blockSize, *n.file, int64(n.count)*blockSize)
		}
	})
	return err
}

// writePadded writes a file and then zeros up to length bytes.
func writePadded(w io.WriterAt, off int64, f File, length int64) error {
	content, size := f.content()
	buf := make([]byte, 1<<20)
	for at := int64(0); at < length; {
		n := min(length-at, int64(len(buf)))
		clear(buf[:n])
		if want := min(size-at, n); want > 0 {
			if got, err := content.ReadAt(buf[:want], at); int64(got) < want {
				return fmt.Errorf("reading the content of %s: %w", f.Path, err)
			}
		}
		if _, err := w.WriteAt(buf[:n], off+at); err != nil {
			return err
		}
		at += n
	}
	return nil
}

func (fs *ext4) superblock(group uint32) []byte {
	b := make([]byte, 1024)
	inodes := fs.groups * fs.inodesPerGroup
	le.PutUint32(b[0:], inodes)
	le.PutUint32(b[4:], fs.blocks)
	le.PutUint32(b[12:], fs.freeIn(0, fs.blocks))
	le.PutUint32(b[16:], inodes-fs.inodes)
	le.PutUint32(b[24:], 2) // log2(block size) - 10
	le.PutUint32(b[28:], 2) // the same for clusters
	le.PutUint32(b[32:], blocksPerGroup)
	le.PutUint32(b[36:], blocksPerGroup)
	le.PutUint32(b[40:], fs.inodesPerGroup)
	le.PutUint16(b[54:], 0xFFFF) // never checked for its number of mounts
	le.PutUint16(b[56:], 0xEF53)
	le.PutUint16(b[58:], 1) // state: clean
	le.PutUint16(b[60:], 1) // on errors: continue
	le.PutUint32(b[76:], 1) // revision 1: variable inode size
	le.PutUint32(b[84:], firstInode)
	le.PutUint16(b[88:], inodeSize)
	le.PutUint16(b[90:], uint16(group))
	le.PutUint32(b[96:], featureIncompatFiletype|featureIncompatExtents|featureIncompatFlexBG)
	le.PutUint32(b[100:], featureROSparseSuper|featureROLargeFile)
	copy(b[104:120], fs.uuid[:])
	copy(b[120:136], fs.label)
	le.PutUint16(b[348:], extraIsize) // s_min_extra_isize
	le.PutUint16(b[350:], extraIsize) // s_want_extra_isize
	b[372] = logGroupsPerFlex
	return b
}

func (fs *ext4) descriptor(group uint32) []byte {
	b := make([]byte, descSize)
	start, end := fs.groupBlocks(group)
	used := fs.inodesIn(group)
	dirs := 0
	fs.root.walk(func(n, _ *node) {
		if n.isDir() && (n.inode-1)/fs.inodesPerGroup == group {
			dirs++
		}
	})
	le.PutUint32(b[0:], fs.blockBitmap(group))
	le.PutUint32(b[4:], fs.inodeBitmap(group))
	le.PutUint32(b[8:], fs.inodeTable(group))
	le.PutUint16(b[12:], uint16(fs.freeIn(start, end)))
	le.PutUint16(b[14:], uint16(fs.inodesPerGroup-used))
	le.PutUint16(b[16:], uint16(dirs))
	return b
}

// groupBlocks returns the blocks [start, end) of a group.
func (fs *ext4) groupBlocks(group uint32) (start, end uint32) {
	return group * blocksPerGroup, min((group+1)*blocksPerGroup, fs.blocks)
}

// inodesIn counts the inodes in use of a group; numbers are given in order.
func (fs *ext4) inodesIn(group uint32) uint32 {
	before := group * fs.inodesPerGroup
	if fs.inodes <= before {
		return 0
	}
	return min(fs.inodes-before, fs.inodesPerGroup)
}

// blockBits is a group's block bitmap: in use is what is not free, and what
// lies past the end of the file system.
func (fs *ext4) blockBits(group uint32) []byte {
	b := make([]byte, blockSize)
	setBits(b, 0, blocksPerGroup)
	start, end := fs.groupBlocks(group)
	for _, r := range fs.free {
		for at := max(r.start, start); at < min(r.end, end); at++ {
			b[(at-start)/8] &^= 1 << ((at - start) % 8)
		}
	}
	return b
}

func (fs *ext4) inodeBits(group uint32) []byte {
	b := make([]byte, blockSize)
	setBits(b, 0, fs.inodesIn(group))
	setBits(b, fs.inodesPerGroup, blocksPerGroup) // past the end: in use
	return b
}

func setBits(b []byte, from, to uint32) {
	for i := from; i < to; i++ {
		b[i/8] |= 1 << (i % 8)
	}
}

// allInodes is the inode tables of all groups, which lie one after another.
func (fs *ext4) allInodes() []byte {
	b := make([]byte, fs.groups*fs.tableBlocks*blockSize)
	fs.root.walk(func(n, _ *node) {
		copy(b[(n.inode-1)*inodeSize:], encodeInode(n))
	})
	return b
}

// encodeInode leaves all times 0: the result must not depend on the clock.
func encodeInode(n *node) []byte {
	b := make([]byte, inodeSize)
	mode, links, size := uint16(0o100644), 1, int64(0)
	switch {
	case n.isDir():
		mode, links, size = 0o040755, 2+n.subdirs(), int64(n.count)*blockSize
	default:
		size = n.file.size()
	}
	le.PutUint16(b[0:], mode)
	le.PutUint32(b[4:], uint32(size))
	le.PutUint16(b[26:], uint16(links))
	le.PutUint32(b[28:], n.count*(blockSize/512))
	le.PutUint32(b[32:], flagExtents)
	le.PutUint32(b[108:], uint32(size>>32))
	le.PutUint16(b[128:], extraIsize)
	copy(b[40:100], encodeExtents(n.first, n.count))
	return b
}

// encodeExtents is the extent tree of a contiguous run, depth 0.
func encodeExtents(first, count uint32) []byte {
	b := make([]byte, 60)
	entries := 0
	for done := uint32(0); done < count; entries++ {
		n := min(count-done, maxExtentSize)
		e := b[12+12*entries:]
		le.PutUint32(e[0:], done)
		le.PutUint16(e[4:], uint16(n))
		le.PutUint32(e[8:], first+done)
		done += n
	}
	le.PutUint16(b[0:], extentMagic)
	le.PutUint16(b[2:], uint16(entries))
	le.PutUint16(b[4:], maxExtents)
	return b
}

// dirBlocks is the content of a directory: its entries, none across a block
// border, the last of each block stretched to its end.
func dirBlocks(n, parent *node) []byte {
	if !n.isDir() {
		return nil
	}
	var out []byte
	block := make([]byte, 0, blockSize)
	last := 0 // where the last entry of block starts
	finish := func() {
		le.PutUint16(block[last+4:], uint16(blockSize-last))
		out = append(out, block...)
		out = append(out, make([]byte, blockSize-len(block))...)
		block, last = block[:0], 0
	}
	add := func(name string, to *node) {
		e := encodeDirEntry(name, to)
		if len(block)+len(e) > blockSize {
			finish()
		}
		last = len(block)
		block = append(block, e...)
	}
	add(".", n)
	add("..", parent)
	for _, c := range n.children {
		add(c.name, c)
	}
	finish()
	return out
}

func encodeDirEntry(name string, to *node) []byte {
	b := make([]byte, (8+len(name)+3)&^3)
	le.PutUint32(b[0:], to.inode)
	le.PutUint16(b[4:], uint16(len(b)))
	b[6], b[7] = byte(len(name)), fileTypeRegular
	if to.isDir() {
		b[7] = fileTypeDir
	}
	copy(b[8:], name)
	return b
}
