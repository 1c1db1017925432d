package migrate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
)

// refuseHere finds what the plan could not: what only the files of this
// machine and the content of the bundle tell. It comes before the first write.
func (p *preparation) refuseHere() error {
	var list Plan
	m := p.survey.Machine
	if kernel, initramfs, err := p.oldKernel(m.Kernel); err != nil {
		list.refuse("old-kernel", "boot the old system from an installed kernel in /boot", "the old system could not be gone back to: %v", err)
	} else {
		p.refuseBootFiles(&list, kernel, kernel, initramfs)
	}
	if err := (bootctl.Args{Device: oldArgs(m.Cmdline)}).Validate(bootctl.SystemOld); err != nil {
		list.refuse("old-args", "remove that argument from the old system's boot loader and reboot", "the old system's command line cannot be handed on: %v", err)
	}
	args := bootctl.Args{Device: deviceArgs(m.Cmdline, partition.Part{PartUUID: newGUID(), Start: p.survey.Disk.Size - sector}), Image: p.offer.root.KernelArgs}
	if err := args.Validate(bootctl.SystemA); err != nil {
		list.refuse("new-args", "", "the new system's command line: %v", err)
	}
	boot := p.offer.boot
	switch {
	case boot == nil:
		list.refuse("no-boot-image", "ask the vendor for a bundle made with --boot", "the bundle brings no boot loader")
	case m.Firmware == UEFI && boot.EFI == nil, m.Firmware != UEFI && boot.BIOS == nil:
		list.refuse("no-boot-image", "ask the vendor for a bundle made with a boot image of --firmware both", "the bundle's boot loader is not for %v", m.Firmware)
	}
	if m.Firmware == UEFI {
		p.refuseESP(&list)
	}
	return list.Err()
}

// abbootRoom is what kernels and initramfs may take of abboot.
const abbootRoom = abbootSize - 24*mib

// refuseBootFiles packs the migrator for a try: it may lack a module, or be
// too large beside the old system's files.
func (p *preparation) refuseBootFiles(list *Plan, names ...string) {
	var total counter
	if err := p.o.Initramfs(&total, p.needModules()); err != nil {
		list.refuse("migrator", "", "packing the migrator: %v", err)
		return
	}
	for _, name := range names {
		if st, err := os.Stat(filepath.Join(p.root, name)); err == nil {
			total += counter(st.Size())
		}
	}
	if int64(total) > abbootRoom {
		list.refuse("abboot-full", "rebuild the old system's initramfs for this machine only: dracut --hostonly --force",
			"kernels and initramfs have %s, and abboot has room for %s", size(int64(total)), size(abbootRoom))
	}
}

// needModules are the kernel modules that the migrator cannot do without: the
// file systems of the old and the new system, and of copied data.
func (p *preparation) needModules() []string {
	need := []string{"dm_mod", "ext4"}
	formats := []string{p.offer.root.Filesystem}
	for _, v := range p.survey.Volumes {
		formats = append(formats, v.Content.Format)
	}
	if slices.Contains(formats, "xfs") || p.offer.root.Filesystem == "" {
		need = append(need, "xfs")
	}
	return need
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// refuseESP finds out whether the firmware's boot entries and the ESP can be
// written.
func (p *preparation) refuseESP(list *Plan) {
	if _, err := bootctl.ReadBootOrder(p.efivars()); err != nil {
		list.refuse("efivars", "mount -t efivarfs efivarfs /sys/firmware/efi/efivars", "the firmware's boot entries cannot be read: %v", err)
	}
	if esp := p.survey.esp(); esp != nil && esp.Mount != "" && esp.ReadOnly {
		list.refuse("read-only", "mount it read-write and run the same command again", "the ESP is mounted read-only on %s", esp.Mount)
	}
}

// efivars is where the firmware's variables are.
func (h *host) efivars() string { return filepath.Join(h.sys, "firmware/efi/efivars") }

// mountTemporarily mounts dev at a directory that is there.
func mountTemporarily(dev, at, fstype string) (func() error, error) {
	if err := unix.Mount(dev, at, fstype, unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOSUID, ""); err != nil {
		return nil, fmt.Errorf("mounting %s: %w", dev, err)
	}
	return func() error { return os.NewSyscallError("umount", unix.Unmount(at, 0)) }, nil
}
