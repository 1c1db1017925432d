package mkfs

import (
	"errors"
	"fmt"
	"io"
)

const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize // one bitmap block describes one group
	inodeSize      = 256           // 128 has no room for times after 2038
	inodesPerBlock = blockSize / inodeSize
	descSize       = 32 // without the 64bit feature

	rootInode      = 2
	firstInode     = 11 // the first that is not reserved; lost+found by tradition
	blocksPerInode = 16 // one inode per 64 KiB: plenty for a boot partition

	// minLastGroup is the least number of blocks that a last, short group may
	// have: shorter ones are left unused, as mke2fs does.
	minLastGroup = 64

	// maxExt4Blocks bounds the descriptor table to one block, so that every
	// group's backup is as small; 16 GiB are far more than any boot partition.
	maxExt4Blocks = blockSize / descSize * blocksPerGroup
)

// ErrNoSpace is returned when the files do not fit.
var ErrNoSpace = errors.New("file system is full")

// ext4 is a file system that is being laid out. Everything is decided in
// memory; only write touches the device.
type ext4 struct {
	uuid   [16]byte
	label  string
	blocks uint32
	groups uint32

	inodesPerGroup uint32
	tableBlocks    uint32 // inode table, per group

	root   *node
	inodes uint32 // highest inode in use
	free   []run  // ascending
}

// run is the blocks [start, end).
type run struct{ start, end uint32 }

// Ext4 writes an ext4 file system of size bytes to w, which holds files, and
// returns the place of each.
//
// There is no journal, no checksum and no 64-bit layout: only what the GRUB
// 2.02 of EL7 and every kernel since 3.10 read and write. Each file is one
// contiguous run that starts on its own 4 KiB block, and no extent is
// unwritten (GRUB and disk addresses would see stale bytes there).
func Ext4(w io.WriterAt, size int64, uuid [16]byte, label string, files []File) (map[string]Extent, error) {
	fs, err := layoutExt4(size, uuid, label, files)
	if err != nil {
		return nil, fmt.Errorf("making ext4 %q: %w", label, err)
	}
	if err := fs.write(w); err != nil {
		return nil, fmt.Errorf("writing ext4 %q: %w", label, err)
	}
	extents := make(map[string]Extent, len(files))
	fs.root.walk(func(n, _ *node) {
		if !n.isDir() {
			extents[n.file.Path] = Extent{int64(n.first) * blockSize, n.file.size()}
		}
	})
	return extents, nil
}

func layoutExt4(size int64, uuid [16]byte, label string, files []File) (*ext4, error) {
	if len(label) > 16 {
		return nil, fmt.Errorf("label is longer than 16 bytes")
	}
	if size/blockSize > maxExt4Blocks {
		return nil, fmt.Errorf("%d bytes are more than the %d supported", size, int64(maxExt4Blocks)*blockSize)
	}
	blocks := uint32(max(size, 0) / blockSize)
	if rest := blocks % blocksPerGroup; rest < minLastGroup {
		blocks -= rest
	}
	if blocks == 0 {
		return nil, fmt.Errorf("%d bytes are too small", size)
	}
	root, err := buildTree(files)
	if err != nil {
		return nil, err
	}
	for _, c := range root.children {
		if c.name == lostFound {
			return nil, fmt.Errorf("%q is reserved", "/"+lostFound)
		}
	}
	root.children = append([]*node{{name: lostFound}}, root.children...)

	fs := &ext4{uuid: uuid, label: label, root: root, blocks: blocks}
	fs.groups = ceilDiv(blocks, blocksPerGroup)
	fs.numberInodes()
	if err := fs.place(); err != nil {
		return nil, err
	}
	return fs, nil
}

// lostFound must exist: e2fsck reports its absence as damage.
const lostFound = "lost+found"

// numberInodes gives each node its inode and sizes the inode tables.
func (fs *ext4) numberInodes() {
	next := uint32(firstInode)
	fs.root.walk(func(n, _ *node) {
		if n == fs.root {
			n.inode = rootInode
			return
		}
		n.inode = next
		next++
	})
	fs.inodes = next - 1

	want := max(fs.inodes, fs.blocks/blocksPerInode)
	fs.tableBlocks = ceilDiv(ceilDiv(want, fs.groups), inodesPerBlock)
	fs.inodesPerGroup = fs.tableBlocks * inodesPerBlock
}

// metaEnd is the first block after the metadata: superblock and descriptors,
// then all bitmaps and inode tables (flex_bg lets them lie together, so that
// they do not cut the space for files into pieces).
func (fs *ext4) metaEnd() uint32 { return fs.inodeTable(fs.groups) }

func (fs *ext4) blockBitmap(group uint32) uint32 { return 2 + group }
func (fs *ext4) inodeBitmap(group uint32) uint32 { return 2 + fs.groups + group }
func (fs *ext4) inodeTable(group uint32) uint32  { return 2 + 2*fs.groups + group*fs.tableBlocks }

// place finds a contiguous run for each file and directory.
func (fs *ext4) place() error {
	if fs.metaEnd() > min(fs.blocks, blocksPerGroup) {
		return fmt.Errorf("%d inodes do not fit into the first group: %w", fs.inodes, ErrNoSpace)
	}
	if fs.inodesPerGroup > blocksPerGroup {
		return fmt.Errorf("%d inodes are too many: %w", fs.inodes, ErrNoSpace)
	}
	at := fs.metaEnd()
	for g := uint32(1); g < fs.groups; g++ {
		if hasSuper(g) {
			fs.free = append(fs.free, run{at, g * blocksPerGroup})
			at = g*blocksPerGroup + 2 // superblock and one block of descriptors
		}
	}
	fs.free = append(fs.free, run{at, fs.blocks})

	var err error
	fs.root.walk(func(n, _ *node) {
		if err != nil {
			return
		}
		size := int64(len(dirBlocks(n, n)))
		if !n.isDir() {
			size = n.file.size()
		}
		if err = fs.allocate(n, size); err != nil {
			err = fmt.Errorf("%q, %d bytes: %w", n.name, size, err)
		}
	})
	return err
}

// allocate takes the first free run that holds size bytes.
func (fs *ext4) allocate(n *node, size int64) error {
	if size == 0 {
		return nil
	}
	if size > maxExtents*maxExtentSize*blockSize {
		return fmt.Errorf("longer than an inode's %d extents can hold: %w", maxExtents, ErrNoSpace)
	}
	count := uint32((size + blockSize - 1) / blockSize)
	for i := range fs.free {
		if r := &fs.free[i]; r.end-r.start >= count {
			n.first, n.count = r.start, count
			r.start += count
			return nil
		}
	}
	return fmt.Errorf("no contiguous run of %d blocks: %w", count, ErrNoSpace)
}

// freeIn counts the free blocks of [start, end).
func (fs *ext4) freeIn(start, end uint32) uint32 {
	total := uint32(0)
	for _, r := range fs.free {
		if from, to := max(r.start, start), min(r.end, end); from < to {
			total += to - from
		}
	}
	return total
}

// hasSuper reports whether a group holds a copy of the superblock: 0, 1 and
// the powers of 3, 5 and 7 (feature sparse_super).
func hasSuper(group uint32) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []uint32{3, 5, 7} {
		p := base
		for p < group {
			p *= base
		}
		if p == group {
			return true
		}
	}
	return false
}

func ceilDiv(a, b uint32) uint32 { return (a + b - 1) / b }
