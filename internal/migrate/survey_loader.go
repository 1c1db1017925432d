package migrate

import (
	"bytes"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// Places in GRUB's images for BIOS (GRUB include/grub/i386/pc/boot.h).
const (
	sector          = blockdev.SectorSize
	bootCodeEnd     = 440
	bootKernelLBA   = 0x5C  // LE64: where boot.img finds core.img
	coreListStart   = 0x1F4 // LE64: first sector of the rest of core.img
	coreListLength  = 0x1FC // LE16: its sectors
	coreListSegment = 0x1FE // LE16
	coreSegment     = 0x820
	maxCoreSectors  = 1 << 15
)

// readLoader finds GRUB's boot code and its core.img, which the migration
// must leave alone: it is the way back.
func (s *Survey) readLoader(dev blockdev.Device) error {
	lba0 := make([]byte, sector)
	if _, err := dev.ReadAt(lba0, 0); err != nil {
		return fmt.Errorf("reading the boot code: %w", err)
	}
	if !bytes.Contains(lba0[:bootCodeEnd], []byte("GRUB")) {
		return nil
	}
	s.Disk.Loader.GRUB = true
	lba := le.Uint64(lba0[bootKernelLBA:])
	if lba == 0 || lba >= uint64(dev.Size()/sector) {
		return nil
	}
	first := make([]byte, sector)
	if _, err := dev.ReadAt(first, int64(lba)*sector); err != nil {
		return fmt.Errorf("reading GRUB's core.img: %w", err)
	}
	// One list entry: core.img is in one piece, directly behind its first
	// sector. Anything else is not touched either, but is not known.
	start, length := le.Uint64(first[coreListStart:]), le.Uint16(first[coreListLength:])
	if start != lba+1 || length == 0 || length > maxCoreSectors || le.Uint16(first[coreListSegment:]) != coreSegment {
		return nil
	}
	s.Disk.Loader.CoreStart = int64(lba) * sector
	s.Disk.Loader.CoreEnd = int64(start+uint64(length)) * sector
	return nil
}
