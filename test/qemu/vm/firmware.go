package vm

import (
	"fmt"
	"os"
	"path/filepath"
)

// Firmware is what a machine starts with.
type Firmware uint8

const (
	// BIOS is SeaBIOS on QEMU's older machine.
	BIOS Firmware = iota + 1
	// UEFI is OVMF without Secure Boot.
	UEFI
)

// String returns "bios" or "uefi", the words of the command line.
func (f Firmware) String() string {
	switch f {
	case BIOS:
		return "bios"
	case UEFI:
		return "uefi"
	}
	return fmt.Sprintf("vm.Firmware(%d)", uint8(f))
}

const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS.fd"
)

// arguments returns QEMU's arguments for f. A machine without a file of
// variables gets its own copy, in dir: boot entries of one test must not reach
// the next.
func (f Firmware) arguments(dir, own string) ([]string, error) {
	switch f {
	case BIOS:
		return []string{"-machine", "pc"}, nil
	case UEFI:
		if own == "" {
			own = filepath.Join(dir, "vars.fd")
		}
		if err := makeVariables(own); err != nil {
			return nil, err
		}
		return []string{
			"-machine", "q35",
			"-drive", "if=pflash,format=raw,readonly=on,file=" + ovmfCode,
			"-drive", "if=pflash,format=raw,file=" + own,
		}, nil
	}
	return nil, fmt.Errorf("internal error: %v", f)
}

// makeVariables makes the file of a new machine, unless it is there.
func makeVariables(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	vars, err := os.ReadFile(ovmfVars)
	if err != nil {
		return fmt.Errorf("%w (apt-get install ovmf)", err)
	}
	return os.WriteFile(path, vars, 0o600)
}

// arguments returns the whole command line of QEMU.
func (c Config) arguments(dir string) ([]string, error) {
	memory := c.MemoryMiB
	if memory == 0 {
		memory = 512
	}
	args, err := c.Firmware.arguments(dir, c.Variables)
	if err != nil {
		return nil, err
	}
	args = append(args,
		// What a kernel has left of translated code in memory makes GRUB crawl
		// after a reboot: it loads the next kernel over it. With QEMU's default of
		// 1 GiB that took minutes where it takes seconds.
		"-accel", "tcg,tb-size=64", "-smp", "1", "-m", fmt.Sprint(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "std",
		"-chardev", "socket,id=serial0,path="+filepath.Join(dir, "serial0"), "-serial", "chardev:serial0",
		"-chardev", "socket,id=serial1,path="+filepath.Join(dir, "serial1"), "-serial", "chardev:serial1",
		"-qmp", "unix:"+filepath.Join(dir, "qmp"),
	)
	network := "user,id=net0"
	for _, guest := range append([]string{GuestAddress}, c.Guests...) {
		for _, port := range c.Forward {
			network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-%s:%d", guest, port)
		}
	}
	// romfile= : no PXE, so a disk that does not boot is not waited for.
	args = append(args, "-netdev", network, "-device", "virtio-net-pci,netdev=net0,romfile=")
	for i, d := range c.Disks {
		more, err := d.arguments(i)
		if err != nil {
			return nil, err
		}
		args = append(args, more...)
	}
	return append(args, c.Args...), nil
}
