package oldsystem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// arrangeBoot gives kernel and initramfs the names that they have on EL, and
// takes away Debian's links to them.
func arrangeBoot(tree string) error {
	boot := filepath.Join(tree, "boot")
	kernels, err := filepath.Glob(filepath.Join(boot, "vmlinuz-*"))
	if err != nil {
		return err
	}
	if len(kernels) != 1 {
		return fmt.Errorf("%d kernels in %s, want one", len(kernels), boot)
	}
	release := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if err := os.Rename(filepath.Join(boot, "initrd.img-"+release), filepath.Join(boot, "initramfs-"+release+".img")); err != nil {
		return err
	}
	for _, link := range []string{"vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"} {
		if err := os.Remove(filepath.Join(tree, link)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// kernelRelease returns what uname -r says in the system.
func kernelRelease(tree string) (string, error) {
	kernels, err := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return "", fmt.Errorf("kernels in %s/boot: %v, %w", tree, kernels, err)
	}
	return strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-"), nil
}
