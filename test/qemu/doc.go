// Package qemu holds the suites that run abupdate's appliances on real GRUB,
// under BIOS and under UEFI: `make test-qemu`.
//
// Each boot is judged three times: by the line that the system prints, by the
// bytes of the boot state on the disk afterwards, and by package bootmodel,
// which must have predicted both. So the model that the crash tests rely on is
// held to what GRUB really does.
package qemu
