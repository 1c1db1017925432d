package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/internal/bootctl"
)

// HostGrubDir is where distributions keep GRUB's modules, by platform.
const HostGrubDir = "/usr/lib/grub"

// GRUB's names of our platforms.
const (
	targetBIOS = "i386-pc"
	targetEFI  = "x86_64-efi"
)

// BuildBootImage makes a boot image of the GRUB whose modules lie in dir. It
// runs grub-mkimage, or grub2-mkimage as EL calls it.
func BuildBootImage(ctx context.Context, dir string, bios, uefi bool) (*BootImage, error) {
	b := &BootImage{}
	var err error
	if bios {
		b.BIOS = &BIOSLoader{}
		if b.BIOS.Core, err = b.mkimage(ctx, dir, targetBIOS); err != nil {
			return nil, err
		}
		if b.BIOS.Boot, err = os.ReadFile(filepath.Join(dir, targetBIOS, "boot.img")); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGrub, err)
		}
	}
	if uefi {
		if b.EFI, err = b.mkimage(ctx, dir, targetEFI); err != nil {
			return nil, err
		}
	}
	if err := b.validate(); err != nil {
		return nil, fmt.Errorf("%w: GRUB in %s: %w", ErrGrub, dir, err)
	}
	return b, nil
}

// mkimage makes the core for one platform. All modules and the script are in
// it: a core that has to read them from a disk ends at a prompt when it cannot.
func (b *BootImage) mkimage(ctx context.Context, dir, target string) ([]byte, error) {
	modules := filepath.Join(dir, target)
	if err := b.readVersion(modules); err != nil {
		return nil, err
	}
	program, err := mkimageProgram()
	if err != nil {
		return nil, err
	}
	names, err := moduleNames(modules, target, b.Commands)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "abupdate-grub-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	memdisk, out := filepath.Join(tmp, "memdisk.tar"), filepath.Join(tmp, "core")
	if err := os.WriteFile(memdisk, bootctl.CoreMemdisk(), 0o600); err != nil { //nolint:forbidigo // scratch, deleted before we return
		return nil, err
	}
	args := append([]string{"-O", target, "-d", modules, "-p", bootctl.CorePrefix, "-m", memdisk, "-o", out}, names...)
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s for %s: %w: %.500s", ErrGrub, filepath.Base(program), target, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return os.ReadFile(out)
}

// readVersion takes the GRUB version from a platform's modinfo.sh, and from
// it the commands that this GRUB loads a kernel with.
func (b *BootImage) readVersion(modules string) error {
	info, err := os.ReadFile(filepath.Join(modules, "modinfo.sh"))
	if err != nil {
		return hinted{
			fmt.Errorf("%w: no GRUB for %s: %w", ErrGrub, filepath.Base(modules), err),
			"install it (Debian: grub-pc-bin and grub-efi-amd64-bin; EL: grub2-pc-modules and grub2-efi-x64-modules), name another --grub-dir, or use a bundle that was made with --boot",
		}
	}
	version := shellValue(string(info), "grub_package_version")
	if version == "" {
		version = shellValue(string(info), "grub_version")
	}
	if b.GrubVersion != "" && b.GrubVersion != version {
		return fmt.Errorf("%w: GRUB %s for one platform and %s for the other", ErrGrub, b.GrubVersion, version)
	}
	b.GrubVersion, b.Commands = version, bootctl.CommandsLinux
	// EL7's GRUB is a prerelease whose `linux` is not the one to use: its own
	// configuration has linux16 on BIOS and linuxefi on UEFI. EL8's, a 2.02
	// too, is no prerelease.
	if strings.HasPrefix(shellValue(string(info), "grub_version"), "2.02~") {
		b.Commands = bootctl.CommandsEL7
	}
	return nil
}

// shellValue finds  name="value"  at the start of a line. The file is shell
// syntax and comes from --grub-dir: it is searched, never run.
func shellValue(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

// extraModules help a person at a rescue console of a vendor's own; a GRUB
// that lacks one is as good.
var extraModules = []string{"search_fs_uuid", "search_label", "regexp", "ls", "cat"}

// moduleNames lists what goes into the core.
func moduleNames(modules, target, commands string) ([]string, error) {
	names := bootctl.CoreModules(target)
	if commands == bootctl.CommandsEL7 {
		names = append(names, map[string]string{targetBIOS: "linux16", targetEFI: "linuxefi"}[target])
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(modules, name+".mod"))
		return err == nil
	}
	for _, name := range names {
		if !exists(name) {
			return nil, fmt.Errorf("%w: %s has no module %s", ErrGrub, modules, name)
		}
	}
	for _, name := range extraModules {
		if exists(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// mkimageProgram finds grub-mkimage under its names.
func mkimageProgram() (string, error) {
	for _, name := range []string{"grub-mkimage", "grub2-mkimage"} {
		program, err := exec.LookPath(name)
		if err == nil {
			return program, nil
		}
		if !errors.Is(err, exec.ErrNotFound) {
			return "", err
		}
	}
	return "", hinted{
		fmt.Errorf("%w: grub-mkimage is not installed", ErrGrub),
		"install it (Debian: grub-common; EL: grub2-tools-extra), or use a bundle that was made with --boot",
	}
}
