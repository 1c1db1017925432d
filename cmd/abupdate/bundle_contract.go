package main

import (
	"context"
	"os/exec"
	"strings"
)

// slotContract is what GRUB must find in a slot, as non-empty files.
var slotContract = []string{"/boot/vmlinuz", "/boot/initramfs"}

// warnContract has GRUB itself read the kernel and the initramfs out of a root
// image, and warns where it cannot: such a system would fail its trial. An
// image may be meant for something else, so it is only a warning.
func (a *app) warnContract(ctx context.Context, image string) {
	program, err := exec.LookPath("grub-fstest")
	if err != nil {
		program, err = exec.LookPath("grub2-fstest")
	}
	if err != nil {
		a.ui.Warn("%s: not checked for %s: there is no grub-fstest here (Debian: grub-common; EL: grub2-tools-extra)",
			image, strings.Join(slotContract, " and "))
		return
	}
	for _, path := range slotContract {
		// crc reads all of the file, so it also finds what GRUB cannot read.
		cmd := exec.CommandContext(ctx, program, image, "crc", "(loop0)"+path)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		switch {
		case err != nil:
			why := strings.TrimPrefix(strings.TrimSpace(stderr.String()), program+": error: ")
			a.ui.Warn("%s: GRUB cannot read %s, and a slot with it will not boot: %s", image, path, lastLine(why))
		case strings.Trim(strings.TrimSpace(string(out)), "0") == "":
			a.ui.Warn("%s: %s is empty, and a slot with it will not boot", image, path)
		}
	}
}

func lastLine(s string) string {
	return s[strings.LastIndexByte(s, '\n')+1:]
}
