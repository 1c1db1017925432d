package bootctl

import (
	"fmt"
	"slices"
	"strings"
)

// What GRUB's drivers read, by the incompatible features of a file system: a
// slot with another one cannot be booted. From EXT2_DRIVER_SUPPORTED_INCOMPAT
// and EXT2_DRIVER_IGNORED_INCOMPAT in grub-core/fs/ext2.c, and from
// XFS_SB_FEAT_INCOMPAT_SUPPORTED in grub-core/fs/xfs.c. EL7 has 2.02~beta2.
// EL8 (2.02) and EL9 (2.06) have the later features as backports, so the later
// list is that of the distributions and not of the upstream versions.
var (
	readableEL7 = map[string][]string{
		"ext4": {"filetype", "extent", "64bit", "flex_bg", "meta_bg", "needs_recovery", "mmp"},
		"xfs":  {"crc", "ftype", "spinodes", "meta_uuid"},
	}
	readableLater = map[string][]string{
		"ext4": {"encrypt"},
		"xfs":  {"bigtime", "needsrepair", "nrext64"},
	}
	readable206 = map[string][]string{
		"ext4": {"metadata_csum_seed"},
	}
)

// CanRead returns an error when the GRUB of a version (as its package names
// it: "2.06-13+deb12u2", "2.02~beta2") cannot read a file system with these
// features. An unknown version counts as the oldest.
func CanRead(grub, filesystem string, features []string) error {
	known, ok := readableEL7[filesystem]
	if !ok {
		return fmt.Errorf("the boot loader reads ext4 and xfs, not %q", filesystem)
	}
	known = slices.Clone(known)
	if grub != "" && !strings.HasPrefix(grub, "2.02~") && !strings.HasPrefix(grub, "2.00") {
		known = append(known, readableLater[filesystem]...)
		if !strings.HasPrefix(grub, "2.02") && !strings.HasPrefix(grub, "2.04") {
			known = append(known, readable206[filesystem]...)
		}
	}
	var bad []string
	for _, f := range features {
		if !slices.Contains(known, f) {
			bad = append(bad, f)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("the installed GRUB %s does not read %s with %s", grub, filesystem, strings.Join(bad, ", "))
	}
	return nil
}
