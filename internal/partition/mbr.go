package partition

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/diskfs/go-diskfs/partition/mbr"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// diskSignatureAt is where an MBR's disk signature lies; the boot code ends
// before it.
const diskSignatureAt = 440

func readMBR(dev blockdev.Device, lba0 []byte) (*Table, error) {
	parsed, err := mbr.Read(newSnapshot(lba0), sector, sector)
	if err != nil {
		return nil, fmt.Errorf("MBR: %w: %w", err, ErrTable)
	}
	signature := le.Uint32(lba0[diskSignatureAt:])
	t := &Table{Scheme: MBR, DiskID: fmt.Sprintf("%08x", signature)}
	for _, p := range parsed.Partitions {
		if p.Type == mbr.Empty || p.Size == 0 { // unused, as the kernel sees it
			continue
		}
		t.Parts = append(t.Parts, Part{
			Number:   p.Index,
			Start:    int64(p.Start) * sector,
			Size:     int64(p.Size) * sector,
			Type:     fmt.Sprintf("%02x", byte(p.Type)),
			PartUUID: mbrPartUUID(signature, p.Index),
			Active:   p.Bootable,
		})
	}
	if err := checkParts(t.Parts, sector, dev.Size()); err != nil {
		return nil, fmt.Errorf("MBR: %w", err)
	}
	return t, nil
}

// mbrPartUUID makes the PARTUUID as the kernel does (block/partitions/msdos.c).
func mbrPartUUID(signature uint32, number int) string {
	return fmt.Sprintf("%08x-%02x", signature, number)
}

// writeMBR changes one sector and keeps the boot code in it. A power cut
// leaves the old table or the new one: a sector is never torn.
func writeMBR(dev blockdev.Device, t *Table) error {
	lba0 := make([]byte, sector)
	if _, err := dev.ReadAt(lba0, 0); err != nil {
		return err
	}
	if hasBootSignature(lba0) && hasProtectiveEntry(lba0) {
		return fmt.Errorf("the disk has a GPT, which is never converted: %w", ErrTable)
	}
	if err := encodeMBR(lba0, t, dev.Size()); err != nil {
		return err
	}
	// COMMIT POINT: after this Sync the new table counts.
	if _, err := dev.WriteAt(lba0, 0); err != nil {
		return err
	}
	return dev.Sync()
}

// encodeMBR puts the table into the first sector of a disk of size bytes.
func encodeMBR(lba0 []byte, t *Table, size int64) error {
	signature, err := strconv.ParseUint(t.DiskID, 16, 32)
	if err != nil || len(t.DiskID) != 8 {
		return fmt.Errorf("disk signature %q: not 8 hex digits: %w", t.DiskID, ErrTable)
	}
	parts := slices.Clone(t.Parts)
	if err := checkParts(parts, sector, size); err != nil {
		return err
	}
	entries := make([]byte, mbrEntries*mbrEntrySize)
	for _, p := range parts {
		if p.Number < 1 || p.Number > mbrEntries {
			return fmt.Errorf("partition %d: an MBR has numbers 1 to %d: %w", p.Number, mbrEntries, ErrTable)
		}
		if err := encodeMBREntry(entries[(p.Number-1)*mbrEntrySize:], p); err != nil {
			return fmt.Errorf("partition %d: %w", p.Number, err)
		}
	}
	le.PutUint32(lba0[diskSignatureAt:], uint32(signature))
	copy(lba0[mbrEntriesAt:], entries)
	lba0[bootSignatureAt], lba0[bootSignatureAt+1] = 0x55, 0xAA
	return nil
}

func encodeMBREntry(b []byte, p Part) error {
	kind, err := strconv.ParseUint(p.Type, 16, 8)
	if err != nil || len(p.Type) != 2 || kind == 0 || kind == typeProtective {
		return fmt.Errorf("type %q: not a usable MBR type: %w", p.Type, ErrTable)
	}
	if p.Start/sector > 1<<32-1 || p.Size/sector > 1<<32-1 {
		return fmt.Errorf("beyond the 2 TiB that an MBR reaches: %w", ErrTable)
	}
	if p.Active {
		b[0] = 0x80
	}
	// Cylinders, heads and sectors say "beyond CHS": only LBA is read today.
	copy(b[1:4], []byte{0xFE, 0xFF, 0xFF})
	b[4] = byte(kind)
	copy(b[5:8], []byte{0xFE, 0xFF, 0xFF})
	le.PutUint32(b[8:], uint32(p.Start/sector))
	le.PutUint32(b[12:], uint32(p.Size/sector))
	return nil
}

var le = binary.LittleEndian
