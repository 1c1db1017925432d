package oldsystem

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/images/debian"
)

const sector = 512

// grubDir is where Debian keeps GRUB's modules.
const grubDir = "/usr/lib/grub"

// Arguments are those of the old kernel besides its root file system.
const Arguments = "net.ifnames=0 biosdevname=0 console=tty0 console=ttyS0,115200 quiet"

// installGRUB makes the disk start by itself.
func (d *disk) installGRUB(ctx context.Context) error {
	config, err := d.grubConfig()
	if err != nil {
		return err
	}
	grub2 := filepath.Join(d.root, "boot/grub2")
	if err := os.MkdirAll(grub2, 0o755); err != nil {
		return err
	}
	if d.UEFI {
		return d.installEFI(ctx, grub2, config)
	}
	if err := os.WriteFile(filepath.Join(grub2, "grub.cfg"), config, 0o600); err != nil {
		return err
	}
	if err := debian.Run(ctx, "", "grub-editenv", filepath.Join(grub2, "grubenv"), "create"); err != nil {
		return err
	}
	modules := filepath.Join(grub2, "i386-pc")
	if err := debian.Run(ctx, "", "cp", "-r", filepath.Join(grubDir, "i386-pc"), modules); err != nil {
		return err
	}
	return d.installBIOS(ctx)
}

// installBIOS writes core.img and the boot code as grub2-install does: a small
// core that reads all else from the file system.
func (d *disk) installBIOS(ctx context.Context) error {
	boot, prefix := d.bootVolume()
	table := "msdos"
	if d.GPT() {
		table = "gpt"
	}
	fs := "xfs"
	if boot.fs == "ext4" {
		fs = "ext2"
	}
	out := d.path + ".core"
	defer os.Remove(out)
	err := debian.Run(ctx, "", "grub-mkimage", "-O", "i386-pc", "-d", filepath.Join(grubDir, "i386-pc"), "-o", out,
		"-p", fmt.Sprintf("(,%s%d)%s/grub2", table, boot.part, prefix), "biosdisk", "part_"+table, fs)
	if err != nil {
		return err
	}
	core, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	code, err := os.ReadFile(filepath.Join(grubDir, "i386-pc/boot.img"))
	if err != nil {
		return err
	}
	return d.writeLoader(code, core)
}

// writeLoader puts the addresses in (GRUB include/grub/i386/pc/boot.h).
func (d *disk) writeLoader(code, core []byte) error {
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	le := binary.LittleEndian
	sectors := (len(core) + sector - 1) / sector
	core = append(core, make([]byte, sectors*sector-len(core))...)
	le.PutUint64(core[0x1F4:], uint64(d.core+1))
	le.PutUint16(core[0x1FC:], uint16(sectors-1))
	if _, err := f.WriteAt(core, d.core*sector); err != nil {
		return err
	}
	le.PutUint64(code[0x5C:], uint64(d.core))
	copy(code[0x66:], []byte{0x90, 0x90})
	// The disk signature and the table lie behind the code.
	if _, err := f.WriteAt(code[:440], 0); err != nil {
		return err
	}
	return f.Close()
}

// installEFI puts a loader on the ESP, in EL's directory and as the fallback.
func (d *disk) installEFI(ctx context.Context, grub2 string, config []byte) error {
	esp, _ := d.on("/boot/efi")
	scratch, err := os.MkdirTemp(filepath.Dir(d.root), "esp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	loader, grubenv := filepath.Join(scratch, "grubx64.efi"), filepath.Join(scratch, "grubenv")
	// The signed loader of EL carries its modules and this prefix.
	err = debian.Run(ctx, "", "grub-mkimage", "-O", "x86_64-efi", "-d", filepath.Join(grubDir, "x86_64-efi"), "-o", loader, "-p", "/EFI/centos",
		"part_gpt", "part_msdos", "fat", "xfs", "ext2", "normal", "configfile", "search", "search_fs_uuid", "loadenv", "test", "echo",
		"linux", "all_video", "gfxterm", "minicmd", "reboot", "sleep")
	if err != nil {
		return err
	}
	if err := debian.Run(ctx, "", "grub-editenv", grubenv, "create"); err != nil {
		return err
	}
	cfg := filepath.Join(scratch, "grub.cfg")
	if err := os.WriteFile(cfg, config, 0o600); err != nil {
		return err
	}
	image := fmt.Sprintf("%s@@%d", d.path, esp.at*mib)
	if err := debian.Run(ctx, "", "mmd", "-i", image, "::EFI", "::EFI/centos", "::EFI/BOOT"); err != nil {
		return err
	}
	if err := debian.Run(ctx, "", "mcopy", "-i", image, loader, cfg, grubenv, "::EFI/centos/"); err != nil {
		return err
	}
	if err := debian.Run(ctx, "", "mcopy", "-i", image, loader, "::EFI/BOOT/BOOTX64.EFI"); err != nil {
		return err
	}
	return os.Symlink("../efi/EFI/centos/grubenv", filepath.Join(grub2, "grubenv"))
}

// bootVolume is where kernels lie, and their directory on it.
func (d *disk) bootVolume() (v volume, dir string) {
	if v, ok := d.on("/boot"); ok {
		return v, ""
	}
	v, _ = d.on("/")
	return v, "/boot"
}

// grubConfig is as grub2-mkconfig of EL7 writes it.
func (d *disk) grubConfig() ([]byte, error) {
	release, err := kernelRelease(d.root)
	if err != nil {
		return nil, err
	}
	boot, dir := d.bootVolume()
	root, _ := d.on("/")
	arguments := Arguments
	if d.group != nil {
		arguments = fmt.Sprintf("rd.lvm.lv=%s/root rd.lvm.lv=%s/swap %s", d.group.name, d.group.name, arguments)
	}
	linux, initrd := "linux16", "initrd16"
	if d.UEFI {
		linux, initrd = "linux", "initrd" // EL's linuxefi
	}
	return fmt.Appendf(nil, `#
# DO NOT EDIT THIS FILE
#
set pager=1
if [ -s $prefix/grubenv ]; then
  load_env
fi
set default="${saved_entry}"
set timeout=1
menuentry 'CentOS Linux (%[1]s)' --class centos --unrestricted {
	insmod part_msdos
	insmod part_gpt
	insmod xfs
	insmod ext2
	search --no-floppy --fs-uuid --set=root %[2]s
	%[3]s %[4]s/vmlinuz-%[1]s root=%[5]s ro %[6]s
	%[7]s %[4]s/initramfs-%[1]s.img
}
`, release, d.uuid(boot), linux, dir, d.spec(root), arguments, initrd), nil
}
