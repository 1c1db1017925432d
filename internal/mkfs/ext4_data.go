package mkfs

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// One inode for 16 KiB, as mke2fs has it: customers' files may be small.
	dataInodesPerGroup = 8192
	dataBlocksPerInode = 4

	// MinExt4Data is the least size in bytes: the smallest journal that the
	// kernel takes, and as much again for files.
	MinExt4Data = 16 << 20

	// maxDataBlocks is what 32 bits count: 16 TiB. More stays unused.
	maxDataBlocks = 1<<32 - 1

	journalInode = 8
	minJournal   = 1024      // blocks: JBD2_MIN_JOURNAL_BLOCKS
	maxJournal   = 64 << 8   // blocks: 64 MiB; it fits the first group beside all metadata
	journalShare = 64        // of the file system
	lastGroupMin = 50        // blocks for files that make a last, short group worth it, as mke2fs has it
	dataLostSize = blockSize // lost+found: one block
)

// dataFS is an empty file system of any size, laid out group by group as
// without flex_bg: nothing but the first and the last group's bitmaps has to
// be written, for the others the descriptors say that they are still virgin.
type dataFS struct {
	uuid           [16]byte
	label          string
	blocks         uint32
	groups         uint32
	descBlocks     uint32
	inodesPerGroup uint32
	tableBlocks    uint32
	journal        uint32 // blocks
}

// Ext4Data writes an empty ext4 file system of size bytes, with a journal, to
// w. zero makes a range of w read as zeros.
//
// It is for customers' data: every kernel since 3.10 mounts it, and it is
// never read by GRUB. However large it is, less than 100 MiB are written or
// zeroed; the kernel clears the inode tables when it is mounted, as it does
// after mke2fs. sync is called so that a power cut leaves the whole file
// system or none that anything would recognise.
func Ext4Data(w io.WriterAt, zero func(off, length int64) error, sync func() error, size int64, uuid [16]byte, label string) error {
	fs, err := layoutData(size, uuid, label)
	if err != nil {
		return fmt.Errorf("making ext4 %q: %w", label, err)
	}
	if err := fs.write(w, zero, sync); err != nil {
		return fmt.Errorf("writing ext4 %q: %w", label, err)
	}
	return nil
}

func layoutData(size int64, uuid [16]byte, label string) (*dataFS, error) {
	switch {
	case len(label) > 16:
		return nil, fmt.Errorf("label is longer than 16 bytes")
	case size < MinExt4Data:
		return nil, fmt.Errorf("%d bytes are too small: at least %d", size, MinExt4Data)
	}
	fs := &dataFS{uuid: uuid, label: label, blocks: uint32(min(size/blockSize, maxDataBlocks))}
	fs.inodesPerGroup = min(dataInodesPerGroup, fs.blocks/dataBlocksPerInode/inodesPerBlock*inodesPerBlock)
	fs.tableBlocks = fs.inodesPerGroup / inodesPerBlock
	for {
		fs.groups = uint32((int64(fs.blocks) + blocksPerGroup - 1) / blocksPerGroup)
		fs.descBlocks = uint32((int64(fs.groups)*descSize + blockSize - 1) / blockSize)
		last := fs.groups - 1
		if last == 0 || fs.size(last) >= fs.overhead(last)+lastGroupMin {
			break
		}
		fs.blocks = last * blocksPerGroup // too short to be of use
	}
	fs.journal = min(max(fs.blocks/journalShare, minJournal), maxJournal)
	return fs, nil
}

// size is the number of blocks of a group.
func (fs *dataFS) size(group uint32) uint32 {
	return uint32(min(int64(blocksPerGroup), int64(fs.blocks)-int64(group)*blocksPerGroup))
}

// super is the number of blocks that a group's copy of the superblock and of
// the descriptors takes.
func (fs *dataFS) super(group uint32) uint32 {
	if !hasSuper(group) {
		return 0
	}
	return 1 + fs.descBlocks
}

// overhead is the number of blocks of a group that no file can have.
func (fs *dataFS) overhead(group uint32) uint32 { return fs.super(group) + 2 + fs.tableBlocks }

func (fs *dataFS) blockBitmap(group uint32) uint32 { return group*blocksPerGroup + fs.super(group) }

// rootBlock is where the content begins, in the first group: the root
// directory, lost+found, the journal.
func (fs *dataFS) rootBlock() uint32 { return fs.overhead(0) }

func (fs *dataFS) lostBlock() uint32    { return fs.rootBlock() + 1 }
func (fs *dataFS) journalBlock() uint32 { return fs.rootBlock() + 2 }

// used is the number of blocks of a group that are taken from the beginning.
func (fs *dataFS) used(group uint32) uint32 {
	if group == 0 {
		return fs.journalBlock() + fs.journal
	}
	return fs.overhead(group)
}

func (fs *dataFS) write(w io.WriterAt, zero func(off, length int64) error, sync func() error) error {
	put := func(block uint32, b []byte) error {
		_, err := w.WriteAt(b, int64(block)*blockSize)
		return err
	}
	// What was there before goes first, and the superblock comes last: a cut in
	// between leaves nothing that looks like a file system, old or new.
	if err := put(0, make([]byte, blockSize)); err != nil {
		return err
	}
	if err := sync(); err != nil {
		return err
	}
	if err := fs.writeFirstGroup(put, zero); err != nil {
		return err
	}
	if last := fs.groups - 1; last > 0 {
		if err := put(fs.blockBitmap(last), fs.blockBits(last)); err != nil {
			return err
		}
	}
	descriptors := fs.descriptors()
	for g := range fs.groups {
		if !hasSuper(g) {
			continue
		}
		if err := put(g*blocksPerGroup+1, descriptors); err != nil {
			return err
		}
		if g == 0 {
			continue
		}
		if err := put(g*blocksPerGroup, append(fs.superblock(g), make([]byte, blockSize-1024)...)); err != nil {
			return err
		}
	}
	if err := sync(); err != nil {
		return err
	}
	first := make([]byte, blockSize)
	copy(first[1024:], fs.superblock(0))
	if err := put(0, first); err != nil {
		return err
	}
	return sync()
}

// writeFirstGroup writes all that files have: the inodes, the directories and
// the journal.
func (fs *dataFS) writeFirstGroup(put func(uint32, []byte) error, zero func(off, length int64) error) error {
	root := &node{inode: rootInode, first: fs.rootBlock(), count: 1}
	lost := &node{name: lostFound, inode: firstInode, first: fs.lostBlock(), count: dataLostSize / blockSize}
	root.children = []*node{lost}

	table := fs.blockBitmap(0) + 2
	for _, r := range []run{{table, table + fs.tableBlocks}, {fs.journalBlock(), fs.journalBlock() + fs.journal}} {
		if err := zero(int64(r.start)*blockSize, int64(r.end-r.start)*blockSize); err != nil {
			return err
		}
	}
	inodes := make([]byte, blockSize) // the first block of the table holds all of them
	for _, n := range []*node{root, lost} {
		copy(inodes[(n.inode-1)*inodeSize:], encodeInode(n))
	}
	copy(inodes[(journalInode-1)*inodeSize:], fs.journalInode())
	inodeBits := make([]byte, blockSize)
	setBits(inodeBits, 0, firstInode)
	setBits(inodeBits, fs.inodesPerGroup, blocksPerGroup)
	for _, p := range []struct {
		block uint32
		data  []byte
	}{
		{fs.blockBitmap(0), fs.blockBits(0)},
		{fs.blockBitmap(0) + 1, inodeBits},
		{table, inodes},
		{root.first, dirBlocks(root, root)},
		{lost.first, dirBlocks(lost, root)},
		{fs.journalBlock(), fs.journalSuperblock()},
	} {
		if err := put(p.block, p.data); err != nil {
			return err
		}
	}
	return nil
}

// journalInode is the regular file, mode 0600, that is the journal.
func (fs *dataFS) journalInode() []byte {
	b := make([]byte, inodeSize)
	le.PutUint16(b[0:], 0o100600)
	le.PutUint32(b[4:], fs.journal*blockSize)
	le.PutUint16(b[26:], 1)
	le.PutUint32(b[28:], fs.journal*(blockSize/512))
	le.PutUint32(b[32:], flagExtents)
	copy(b[40:100], encodeExtents(fs.journalBlock(), fs.journal))
	le.PutUint16(b[128:], extraIsize)
	return b
}

// journalSuperblock is that of an empty journal (jbd2's journal_superblock_s),
// big endian.
func (fs *dataFS) journalSuperblock() []byte {
	b := make([]byte, blockSize)
	be := binary.BigEndian
	be.PutUint32(b[0:], 0xC03B3998)
	be.PutUint32(b[4:], 4) // superblock, version 2
	be.PutUint32(b[12:], blockSize)
	be.PutUint32(b[16:], fs.journal)
	be.PutUint32(b[20:], 1) // the first block of the log
	be.PutUint32(b[24:], 1) // its sequence number
	copy(b[48:64], fs.uuid[:])
	be.PutUint32(b[64:], 1) // one file system uses it
	return b
}

// blockBits is a group's block bitmap.
func (fs *dataFS) blockBits(group uint32) []byte {
	b := make([]byte, blockSize)
	setBits(b, 0, fs.used(group))
	setBits(b, fs.size(group), blocksPerGroup)
	return b
}
