package bundle

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// filesystem is what the start of an image says about it: which file system
// it is, and the features that a boot loader must know to read it. GRUB
// refuses an ext file system or an XFS with an incompatible feature that it
// does not know, and then the slot cannot boot; so a device compares these
// with what its installed GRUB reads, before it writes.
type filesystem struct {
	name     string
	features []string // sorted
	warnings []string // what a packer should know
}

// probeSize covers the superblocks looked at.
const probeSize = 4096

// probeFilesystem looks at the start of an image.
func probeFilesystem(r io.ReaderAt) (filesystem, error) {
	b := make([]byte, probeSize)
	if n, err := r.ReadAt(b, 0); n < len(b) && err != nil && err != io.EOF {
		return filesystem{}, err
	}
	switch {
	case binary.LittleEndian.Uint16(b[1024+0x38:]) == 0xEF53:
		return probeExt(b[1024:]), nil
	case string(b[:4]) == "XFSB":
		return probeXFS(b), nil
	case string(b[:4]) == "hsqs":
		return filesystem{name: "squashfs"}, nil
	case string(b[257:262]) == "ustar":
		return filesystem{name: "tar"}, nil
	}
	return filesystem{}, nil
}

// The incompatible features of ext2/3/4 (Linux fs/ext4/ext4.h), under the
// names of e2fsprogs. The others do not keep GRUB from reading.
var extIncompat = map[uint32]string{
	0x1: "compression", 0x2: "filetype", 0x4: "needs_recovery", 0x8: "journal_dev",
	0x10: "meta_bg", 0x40: "extent", 0x80: "64bit", 0x100: "mmp", 0x200: "flex_bg",
	0x400: "ea_inode", 0x1000: "dirdata", 0x2000: "metadata_csum_seed",
	0x4000: "large_dir", 0x8000: "inline_data", 0x10000: "encrypt", 0x20000: "casefold",
}

func probeExt(sb []byte) filesystem {
	bits := binary.LittleEndian.Uint32(sb[0x60:])
	fs := filesystem{name: "ext4", features: featureNames(bits, extIncompat)}
	if bits&0x4 != 0 {
		fs.warnings = append(fs.warnings, "the ext4 file system was not unmounted cleanly (needs_recovery): GRUB reads it without its journal; run e2fsck on the image first")
	}
	if 1024<<binary.LittleEndian.Uint32(sb[0x18:]) != BlockSize {
		fs.warnings = append(fs.warnings, "the ext4 file system has no 4096-byte blocks: GRUB is slow with small ones (mkfs.ext4 -b 4096)")
	}
	return fs
}

// The incompatible features of XFS version 5 (Linux fs/xfs/libxfs/xfs_format.h).
var xfsIncompat = map[uint32]string{
	0x1: "ftype", 0x2: "spinodes", 0x4: "meta_uuid", 0x8: "bigtime", 0x10: "needsrepair",
	0x20: "nrext64", 0x40: "exchange", 0x80: "parent", 0x100: "metadir", 0x200: "zoned", 0x400: "zone_gaps",
}

func probeXFS(sb []byte) filesystem {
	fs := filesystem{name: "xfs"}
	if binary.BigEndian.Uint16(sb[100:])&0xF == 5 {
		fs.features = append(featureNames(binary.BigEndian.Uint32(sb[216:]), xfsIncompat), "crc")
	} else if binary.BigEndian.Uint32(sb[200:])&0x200 != 0 {
		fs.features = []string{"ftype"}
	}
	slices.Sort(fs.features)
	return fs
}

// featureNames names the bits that are set; a bit without a name is kept by
// its value, so that a device refuses it rather than overlooks it.
func featureNames(bits uint32, names map[uint32]string) []string {
	var out []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if bits&bit == 0 {
			continue
		}
		name, ok := names[bit]
		if !ok {
			name = fmt.Sprintf("incompat-0x%x", bit)
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
