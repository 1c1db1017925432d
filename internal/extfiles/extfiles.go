// Package extfiles tells which file of an ext4 image lies where.
//
// Who packs an image wants to know where files begin, and whose the blocks are
// that changed. No content is read and nothing is written. The layout is that
// of Linux' Documentation/filesystems/ext4; a journal is not replayed, so the
// image must have been unmounted.
//
// Invariant: whatever an image holds, Read ends, with a result or an error, and
// what it keeps grows with the image's own structures only. Start with Read.
package extfiles

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrNotExt says that an image holds no ext4 file system that this package
// reads.
var ErrNotExt = errors.New("no ext4 file system that can be read")

// Extent is a piece of a file: the bytes [Off, Off+Len) of the image.
type Extent struct {
	Off, Len int64
	Path     string // absolute, of the first name found; a description for what has none
	Modified uint32 // when the file was, in seconds since 1970
}

// Limits on what is believed.
const (
	maxBlockSize = 64 << 10
	maxInodes    = 1 << 26
	maxDepth     = 5       // of an extent tree: what the kernel makes at the most
	maxName      = 4096    // of a path
	maxExtents   = 8 << 20 // all files together
	rootInode    = 2
)

// Features that change where things lie and are not handled here.
const (
	incompatCompression = 0x1
	incompatJournalDev  = 0x8
	incompatMetaBG      = 0x10
	incompatEncrypt     = 0x10000
)

// reader is an image and what its superblock says.
type reader struct {
	r         io.ReaderAt
	size      int64
	blockSize int64
	blocks    int64
	perGroup  uint32 // inodes
	inodes    uint32
	inodeSize int64
	descSize  int64
	descAt    int64 // first group descriptor, in bytes

	paths   map[uint32]string // first name of each inode
	extents []Extent
}

// Read returns the extents of all files, directories and the journal of the
// ext4 file system in an image of size bytes, in the order of the image.
// Fragments that no file owns (free blocks, tables, bitmaps) are not named.
func Read(image io.ReaderAt, size int64) ([]Extent, error) {
	r := &reader{r: image, size: size, paths: map[uint32]string{rootInode: "/"}}
	if err := r.superblock(); err != nil {
		return nil, err
	}
	if err := r.walk(); err != nil {
		return nil, err
	}
	slices.SortFunc(r.extents, func(a, b Extent) int { return cmp.Compare(a.Off, b.Off) })
	return r.extents, nil
}

func (r *reader) superblock() error {
	sb := make([]byte, 1024)
	if _, err := r.r.ReadAt(sb, 1024); err != nil {
		return fmt.Errorf("%w: reading the superblock: %w", ErrNotExt, err)
	}
	le := binary.LittleEndian
	if le.Uint16(sb[0x38:]) != 0xEF53 {
		return fmt.Errorf("%w: no superblock", ErrNotExt)
	}
	incompat := le.Uint32(sb[0x60:])
	if bad := incompat & (incompatCompression | incompatJournalDev | incompatMetaBG | incompatEncrypt); bad != 0 {
		return fmt.Errorf("%w: features 0x%x", ErrNotExt, bad)
	}
	shift := le.Uint32(sb[0x18:])
	if shift > 6 {
		return fmt.Errorf("%w: blocks of 2^%d KiB", ErrNotExt, shift)
	}
	r.blockSize = 1024 << shift
	r.blocks = int64(le.Uint32(sb[4:]))
	r.descSize = 32
	if incompat&0x80 != 0 { // 64bit
		r.blocks |= int64(le.Uint32(sb[0x150:])) << 32
		r.descSize = int64(le.Uint16(sb[0xFE:]))
	}
	r.inodes, r.perGroup = le.Uint32(sb[0:]), le.Uint32(sb[0x28:])
	r.inodeSize = int64(le.Uint16(sb[0x58:]))
	r.descAt = r.blockSize * (int64(le.Uint32(sb[0x14:])) + 1)
	switch {
	case r.blocks <= 0 || r.blocks > r.size/r.blockSize:
		return fmt.Errorf("%w: %d blocks in %d bytes", ErrNotExt, r.blocks, r.size)
	case r.inodes < rootInode || r.inodes > maxInodes || r.perGroup == 0:
		return fmt.Errorf("%w: %d inodes, %d in a group", ErrNotExt, r.inodes, r.perGroup)
	case r.inodeSize < 128 || r.inodeSize > r.blockSize || r.descSize < 32 || r.descSize > r.blockSize:
		return fmt.Errorf("%w: inodes of %d bytes, descriptors of %d", ErrNotExt, r.inodeSize, r.descSize)
	}
	return nil
}

// block reads one block.
func (r *reader) block(n int64) ([]byte, error) {
	if n <= 0 || n >= r.blocks {
		return nil, fmt.Errorf("%w: block %d of %d", ErrNotExt, n, r.blocks)
	}
	b := make([]byte, r.blockSize)
	if _, err := r.r.ReadAt(b, n*r.blockSize); err != nil {
		return nil, fmt.Errorf("reading block %d: %w", n, err)
	}
	return b, nil
}

// inode reads inode n.
func (r *reader) inode(n uint32) ([]byte, error) {
	if n == 0 || n > r.inodes {
		return nil, fmt.Errorf("%w: inode %d of %d", ErrNotExt, n, r.inodes)
	}
	group, index := int64((n-1)/r.perGroup), int64((n-1)%r.perGroup)
	desc := make([]byte, r.descSize)
	if _, err := r.r.ReadAt(desc, r.descAt+group*r.descSize); err != nil {
		return nil, fmt.Errorf("reading the descriptor of group %d: %w", group, err)
	}
	table := int64(binary.LittleEndian.Uint32(desc[8:]))
	if r.descSize >= 64 {
		table |= int64(binary.LittleEndian.Uint32(desc[0x28:])) << 32
	}
	if table <= 0 || table >= r.blocks {
		return nil, fmt.Errorf("%w: the inode table of group %d at block %d", ErrNotExt, group, table)
	}
	b := make([]byte, r.inodeSize)
	if _, err := r.r.ReadAt(b, table*r.blockSize+index*r.inodeSize); err != nil {
		return nil, fmt.Errorf("reading inode %d: %w", n, err)
	}
	return b, nil
}
