package migrate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Content is what lies on a partition, a volume or a disk, by its superblock.
type Content struct {
	Kind   Kind
	Format string // "ext4", "xfs", "swap", "LUKS", …; empty with KindUnknown and KindEmpty
	UUID   string
	Label  string
	// Of a file system: its size and what is free, in bytes; Free is -1 when
	// the superblock does not tell.
	Size, Free int64
	// MaxRun is the longest contiguous file that its layout allows.
	MaxRun int64
	// LastMounted is where an ext file system was mounted last.
	LastMounted string
}

// Kind is what sort of content there is.
type Kind uint8

// The kinds. The zero value is invalid.
const (
	KindUnknown    Kind = iota + 1 // something, but nothing known
	KindEmpty                      // zeros wherever a superblock could be
	KindFilesystem                 // of Linux
	KindFAT                        // an ESP has it
	KindSwap
	KindLVM
	KindLUKS
	KindRAID // a member of an mdraid
	KindBIOSBoot
	KindExtended
)

// probeHead covers every superblock at the front: the last is btrfs's.
const probeHead = 68 << 10

// A signature at a fixed place.
var signatures = []struct {
	at     int
	magic  string
	kind   Kind
	format string
}{
	{0, "LUKS\xba\xbe", KindLUKS, "LUKS"},
	{0, "\xfc\x4e\x2b\xa9", KindRAID, "mdraid"},    // metadata 1.1
	{4096, "\xfc\x4e\x2b\xa9", KindRAID, "mdraid"}, // metadata 1.2
	{4086, "SWAPSPACE2", KindSwap, "swap"},
	{65600, "_BHRfS_M", KindFilesystem, "btrfs"},
	{82, "FAT32   ", KindFAT, "vfat"},
	{54, "FAT16   ", KindFAT, "vfat"},
	{54, "FAT12   ", KindFAT, "vfat"},
}

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// probe looks at the places where superblocks are. LVM is not looked for:
// partition.ReadPV does.
func probe(r io.ReaderAt, size int64) (Content, error) {
	head := make([]byte, probeHead)
	if _, err := r.ReadAt(head[:min(size, probeHead)], 0); err != nil && err != io.EOF {
		return Content{}, fmt.Errorf("looking for a file system: %w", err)
	}
	// RAID first: the members of a mirror also look like what is on it.
	if raid, err := raidAtEnd(r, size); err != nil || raid {
		return Content{Kind: KindRAID, Format: "mdraid"}, err
	}
	for _, s := range signatures {
		if string(head[s.at:s.at+len(s.magic)]) != s.magic {
			continue
		}
		c := Content{Kind: s.kind, Format: s.format, Free: -1}
		if s.kind == KindFAT {
			c.Size, c.Free = probeFAT(r, head, size)
		}
		return c, nil
	}
	switch {
	case string(head[:4]) == "XFSB":
		return probeXFS(head), nil
	case le.Uint16(head[1024+0x38:]) == 0xEF53:
		return probeExt(head[1024:2048]), nil
	case len(bytes.Trim(head, "\x00")) == 0:
		return Content{Kind: KindEmpty}, nil
	}
	return Content{Kind: KindUnknown}, nil
}

// raidAtEnd looks for the two kinds of mdraid metadata that lie at the end.
func raidAtEnd(r io.ReaderAt, size int64) (bool, error) {
	for _, at := range []int64{
		size&^0xFFFF - 0x10000,     // 0.90
		(size/512 - 16) &^ 7 * 512, // 1.0
	} {
		magic := make([]byte, 4)
		if at < probeHead {
			continue
		}
		if _, err := r.ReadAt(magic, at); err != nil {
			return false, fmt.Errorf("looking for mdraid: %w", err)
		}
		if le.Uint32(magic) == 0xa92b4efc {
			return true, nil
		}
	}
	return false, nil
}

// probeExt reads a superblock of ext2/3/4 (Linux fs/ext4/ext4.h).
func probeExt(sb []byte) Content {
	c := Content{
		Kind: KindFilesystem, Format: "ext2", UUID: uuidText(sb[0x68:]),
		Label: text(sb[0x78:0x88]), LastMounted: text(sb[0x88:0xC8]),
	}
	compat, incompat := le.Uint32(sb[0x5C:]), le.Uint32(sb[0x60:])
	switch {
	case incompat&0x40 != 0: // extents
		c.Format = "ext4"
	case compat&0x4 != 0: // a journal
		c.Format = "ext3"
	}
	shift := le.Uint32(sb[0x18:])
	if shift > 6 { // blocks of 64 KiB are the largest there are
		return Content{Kind: KindUnknown}
	}
	block := int64(1024) << shift
	blocks, free, reserved := int64(le.Uint32(sb[0x4:])), int64(le.Uint32(sb[0xC:])), int64(le.Uint32(sb[0x8:]))
	if incompat&0x80 != 0 { // 64bit; no disk has 2^47 blocks
		blocks |= int64(le.Uint32(sb[0x150:])&0x7FFF) << 32
		reserved |= int64(le.Uint32(sb[0x154:])&0x7FFF) << 32
		free |= int64(le.Uint32(sb[0x158:])&0x7FFF) << 32
	}
	c.Size = blocks * block
	c.Free = max(0, min(free-reserved, blocks)) * block
	// The metadata of a flexible group stand together at its start; a file
	// reaches from one such place to the next. FACTS: 1920 MiB of 2 GiB.
	group := int64(le.Uint32(sb[0x20:])) * block
	if incompat&0x200 != 0 && sb[0x174] < 16 {
		group <<= sb[0x174]
	}
	c.MaxRun = min(group/16*15, c.Size)
	return c
}

// probeXFS reads a superblock of XFS (Linux fs/xfs/libxfs/xfs_format.h).
func probeXFS(sb []byte) Content {
	c := Content{Kind: KindFilesystem, Format: "xfs", UUID: uuidText(sb[32:]), Label: text(sb[108:120])}
	block := int64(be.Uint32(sb[4:]))
	blocks, free := be.Uint64(sb[8:]), be.Uint64(sb[144:])
	if block < 512 || block > 65536 || blocks > 1<<46 || free > blocks {
		return Content{Kind: KindUnknown}
	}
	c.Size, c.Free = int64(blocks)*block, int64(free)*block
	// A file's run ends with its allocation group, the first blocks of which
	// are metadata.
	c.MaxRun = min(int64(be.Uint32(sb[84:]))*block/64*63, c.Size)
	return c
}

// probeFAT reads the free clusters of FAT32; the other kinds do not say.
func probeFAT(r io.ReaderAt, b []byte, size int64) (total, free int64) {
	sector, cluster := int64(le.Uint16(b[11:])), int64(b[13])
	info := int64(le.Uint16(b[48:])) * sector
	if string(b[82:87]) != "FAT32" || sector != 512 || info == 0 || info > 64<<10 {
		return size, -1
	}
	fs := make([]byte, 512)
	if _, err := r.ReadAt(fs, info); err != nil || string(fs[:4]) != "RRaA" || string(fs[484:488]) != "rrAa" {
		return size, -1
	}
	free = int64(le.Uint32(fs[488:])) * cluster * sector
	if free > size {
		return size, -1
	}
	return size, free
}

// text is a field padded with NULs, made fit to be shown.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	for _, c := range b {
		if c < 0x20 || c > 0x7E {
			return clip(fmt.Sprintf("%q", b))
		}
	}
	return string(b)
}

func uuidText(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
