package mkfs

const (
	featureCompatHasJournal = 0x0004
	featureCompatExtAttr    = 0x0008
	featureCompatDirIndex   = 0x0020

	featureROHugeFile   = 0x0008
	featureROGroupCRC   = 0x0010
	featureRODirNlink   = 0x0020
	featureROExtraIsize = 0x0040

	groupInodesVirgin = 0x1 // INODE_UNINIT: bitmap and table were never written
	groupBlocksVirgin = 0x2 // BLOCK_UNINIT: the same of the block bitmap
	groupTableZeroed  = 0x4 // the kernel need not clear the inode table

	mountXattr, mountACL = 0x4, 0x8
	hashHalfMD4          = 1
	flagSignedHash       = 1
)

// descriptors is the table of all groups, in whole blocks.
func (fs *dataFS) descriptors() []byte {
	b := make([]byte, fs.descBlocks*blockSize)
	for g := range fs.groups {
		copy(b[g*descSize:], fs.descriptor(g))
	}
	return b
}

func (fs *dataFS) descriptor(group uint32) []byte {
	b := make([]byte, descSize)
	flags, inodes, dirs := uint16(groupInodesVirgin|groupBlocksVirgin), uint32(0), uint16(0)
	switch group {
	case 0:
		flags, inodes, dirs = groupTableZeroed, firstInode, 2
	case fs.groups - 1:
		flags &^= groupBlocksVirgin // its bitmap says where the file system ends
	}
	bitmap := fs.blockBitmap(group)
	le.PutUint32(b[0:], bitmap)
	le.PutUint32(b[4:], bitmap+1)
	le.PutUint32(b[8:], bitmap+2)
	le.PutUint16(b[12:], uint16(fs.size(group)-fs.used(group)))
	le.PutUint16(b[14:], uint16(fs.inodesPerGroup-inodes))
	le.PutUint16(b[16:], dirs)
	le.PutUint16(b[18:], flags)
	le.PutUint16(b[28:], uint16(fs.inodesPerGroup-inodes)) // never used, at the end of the table
	var number [4]byte
	le.PutUint32(number[:], group)
	crc := crc16(crc16(crc16(0xFFFF, fs.uuid[:]), number[:]), b[:30])
	le.PutUint16(b[30:], crc)
	return b
}

func (fs *dataFS) free() uint32 {
	free := uint32(0)
	for g := range fs.groups {
		free += fs.size(g) - fs.used(g)
	}
	return free
}

func (fs *dataFS) superblock(group uint32) []byte {
	b := make([]byte, 1024)
	inodes := fs.groups * fs.inodesPerGroup
	le.PutUint32(b[0:], inodes)
	le.PutUint32(b[4:], fs.blocks)
	le.PutUint32(b[12:], fs.free())
	le.PutUint32(b[16:], inodes-firstInode)
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
	le.PutUint32(b[92:], featureCompatHasJournal|featureCompatExtAttr|featureCompatDirIndex)
	le.PutUint32(b[96:], featureIncompatFiletype|featureIncompatExtents)
	le.PutUint32(b[100:], featureROSparseSuper|featureROLargeFile|featureROHugeFile|featureROGroupCRC|featureRODirNlink|featureROExtraIsize)
	copy(b[104:120], fs.uuid[:])
	copy(b[120:136], fs.label)
	le.PutUint32(b[224:], journalInode)
	copy(b[236:252], fs.uuid[:]) // the seed of directory hashes
	b[252] = hashHalfMD4
	b[253] = 1                     // s_jnl_backup_type: the next field holds the journal's inode
	copy(b[268:], fs.journalMap()) // s_jnl_blocks
	le.PutUint32(b[256:], mountXattr|mountACL)
	le.PutUint16(b[348:], extraIsize) // s_min_extra_isize
	le.PutUint16(b[350:], extraIsize) // s_want_extra_isize
	le.PutUint32(b[352:], flagSignedHash)
	return b
}

// journalMap is the backup of the journal's inode: its extents, then the two
// halves of its size.
func (fs *dataFS) journalMap() []byte {
	b := make([]byte, 17*4)
	copy(b, encodeExtents(fs.journalBlock(), fs.journal))
	le.PutUint32(b[64:], fs.journal*blockSize)
	return b
}

// crc16 is the kernel's: polynomial 0x8005, reflected.
func crc16(crc uint16, b []byte) uint16 {
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
