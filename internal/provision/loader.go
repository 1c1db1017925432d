package provision

import (
	"encoding/binary"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

const sector = blockdev.SectorSize

// Places in GRUB's images for BIOS (GRUB include/grub/i386/pc/boot.h).
const (
	bootCodeEnd     = 440  // the disk signature and the table follow
	bootKernelLBA   = 0x5C // LE64: where boot.img finds core.img
	bootDriveCheck  = 0x66 // two bytes: a jump over "the BIOS named a floppy"
	bootSignatureAt = 510

	coreListStart   = 0x1F4 // LE64: first sector of the rest of core.img
	coreListLength  = 0x1FC // LE16: its sectors
	coreListSegment = 0x1FE // LE16: where to load it
	coreSegment     = 0x820

	// maxCore is what a core.img may take: the MBR gap before the first
	// partition, or the BIOS boot partition, both 1 MiB.
	maxCore = 1<<20 - sector
)

var le = binary.LittleEndian

func (l *BIOSLoader) validate() error {
	if len(l.Boot) != sector || l.Boot[bootSignatureAt] != 0x55 || l.Boot[bootSignatureAt+1] != 0xAA {
		return fmt.Errorf("boot.img: %d bytes, not a boot sector", len(l.Boot))
	}
	if len(l.Core) < 2*sector || len(l.Core) > maxCore {
		return fmt.Errorf("core.img: %d bytes, not %d to %d", len(l.Core), 2*sector, maxCore)
	}
	if segment := le.Uint16(l.Core[coreListSegment:]); segment != coreSegment {
		return fmt.Errorf("core.img: its first sector loads to segment %#x, not %#x", segment, coreSegment)
	}
	return nil
}

// CoreImage returns core.img for byte coreOff of the disk, in whole sectors.
func (l *BIOSLoader) CoreImage(coreOff int64) []byte {
	sectors := (len(l.Core) + sector - 1) / sector
	core := make([]byte, sectors*sector)
	copy(core, l.Core)
	// core.img's first sector loads the others by this list.
	le.PutUint64(core[coreListStart:], uint64(coreOff/sector+1))
	le.PutUint16(core[coreListLength:], uint16(sectors-1))
	return core
}

// BootCode returns the first 440 bytes of the disk, which lead to the core.img
// at byte coreOff. The disk signature and the table follow them.
func (l *BIOSLoader) BootCode(coreOff int64) []byte {
	code := make([]byte, bootCodeEnd)
	copy(code, l.Boot)
	le.PutUint64(code[bootKernelLBA:], uint64(coreOff/sector))
	// Some BIOSes name the wrong drive; without the check GRUB believes that
	// it was loaded from a hard disk, as grub-bios-setup does it too.
	copy(code[bootDriveCheck:], []byte{0x90, 0x90})
	return code
}

// install writes the loader to the disk: core.img at byte coreOff, then the
// boot code that leads to it. The rest of the first sector is kept.
func (l *BIOSLoader) install(dev blockdev.Device, coreOff int64) error {
	if _, err := dev.WriteAt(l.CoreImage(coreOff), coreOff); err != nil {
		return fmt.Errorf("writing core.img: %w", err)
	}
	lba0 := make([]byte, sector)
	if _, err := dev.ReadAt(lba0, 0); err != nil {
		return err
	}
	copy(lba0, l.BootCode(coreOff))
	if _, err := dev.WriteAt(lba0, 0); err != nil {
		return fmt.Errorf("writing the boot code: %w", err)
	}
	return nil
}
