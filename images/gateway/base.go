package gateway

import (
	"fmt"
	"os"
	"path/filepath"
)

// arrangeBoot gives kernel and initramfs the two names that GRUB opens, as
// real files.
func arrangeBoot(tree string) error {
	boot := filepath.Join(tree, "boot")
	for _, want := range []struct{ pattern, name string }{
		{"vmlinuz-*", "vmlinuz"},
		{"initrd.img-*", "initramfs"},
	} {
		found, err := filepath.Glob(filepath.Join(boot, want.pattern))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%d files match %s/%s, want one", len(found), boot, want.pattern)
		}
		if err := os.Rename(found[0], filepath.Join(boot, want.name)); err != nil {
			return err
		}
	}
	return nil
}
