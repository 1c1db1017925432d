// Package provision makes the first disk of a device: partition table, boot
// loader, abboot, and slot a with the image of a signed bundle.
//
// Invariant: the disk image appears under its name only when it is complete:
// its slot read back against the signed hashes, its boot state durable. Start
// with CreateImage; boot loader files come from a BootImage.
package provision

import (
	"errors"
	"fmt"
)

// ErrGrub is wrapped by errors about the boot loader files that are needed to
// make a disk bootable: they are missing, or not as expected.
var ErrGrub = errors.New("boot loader files")

// Firmware is what starts the device.
type Firmware uint8

// The kinds of firmware. The zero value is invalid on purpose.
const (
	// BIOS: an MBR disk.
	BIOS Firmware = iota + 1
	// UEFI: a GPT disk with an EFI system partition, which also boots on BIOS.
	UEFI
)

// ParseFirmware reads "bios" or "uefi".
func ParseFirmware(s string) (Firmware, error) {
	switch s {
	case "bios":
		return BIOS, nil
	case "uefi":
		return UEFI, nil
	}
	return 0, fmt.Errorf("firmware %q: must be bios or uefi", s)
}

// String returns "bios" or "uefi".
func (f Firmware) String() string {
	switch f {
	case BIOS:
		return "bios"
	case UEFI:
		return "uefi"
	}
	return fmt.Sprintf("provision.Firmware(%d)", uint8(f))
}

// hinted is an error that knows what to do next.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }
