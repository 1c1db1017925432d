package partition

import (
	"fmt"
	"hash/crc32"
	"slices"
	"unicode/utf16"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// New tables have the usual 128 entries: 16 KiB, 32 sectors.
const (
	newEntries      = 128
	newArraySectors = newEntries * gptEntrySize / sector

	// usualFirst is the first usable sector of a new table unless a partition
	// starts earlier: 1 MiB, as sfdisk does it. It leaves room for the second
	// place of the entries.
	usualFirst = 2048
)

// arrayPlaces are the sectors where the entries of a primary copy may start.
// There are two so that a new array never overwrites the one in use.
var arrayPlaces = [...]uint64{2, 2 + newArraySectors}

// Write replaces the partition table of a disk. A power cut leaves the old
// table or the new one. A table of the other scheme is never converted.
func Write(dev blockdev.Device, t *Table) error {
	if dev.SectorSize() != sector || dev.Size() < sector {
		return fmt.Errorf("writing the partition table: %d bytes in sectors of %d: %w", dev.Size(), dev.SectorSize(), ErrTable)
	}
	err := refuseOverlap(t)
	switch {
	case err != nil:
	case t.Scheme == MBR:
		err = writeMBR(dev, t)
	case t.Scheme == GPT:
		err = writeGPT(dev, t)
	default:
		err = fmt.Errorf("internal error: writing a table of %v", t.Scheme)
	}
	if err != nil {
		return fmt.Errorf("writing the partition table: %w", err)
	}
	return nil
}

// writeGPT switches to a new table by the one sector of the primary header,
// because GRUB reads no other copy and checks no CRC.
func writeGPT(dev blockdev.Device, t *Table) error {
	lba0 := make([]byte, sector)
	if _, err := dev.ReadAt(lba0, 0); err != nil {
		return err
	}
	protected := hasBootSignature(lba0) && hasProtectiveEntry(lba0)
	if hasBootSignature(lba0) && !protected {
		if old, err := readMBR(dev, lba0); err != nil || len(old.Parts) > 0 {
			return fmt.Errorf("the disk has an MBR table, which is never converted: %w", ErrTable)
		}
	}
	primary, backup, err := planGPT(dev, t, protected)
	if err != nil {
		return err
	}
	put := func(lba uint64, b []byte) error {
		_, err := dev.WriteAt(b, int64(lba)*sector)
		return err
	}
	// The new entries go to sectors that the table in force does not use: a
	// cut up to the end of this Sync leaves the old table, both copies.
	if err := put(primary.arrayLBA, primary.array); err != nil {
		return err
	}
	if err := dev.Sync(); err != nil {
		return err
	}
	// COMMIT POINT on a disk with a GPT: after this Sync the new table counts.
	// Without this Sync the backup could be overwritten before the primary is
	// there, and a cut would leave none.
	if err := put(1, primary.header); err != nil {
		return err
	}
	if err := dev.Sync(); err != nil {
		return err
	}
	// A cut in here leaves a good primary and a stale or broken backup.
	if err := put(backup.arrayLBA, backup.array); err != nil {
		return err
	}
	if err := put(le.Uint64(backup.header[24:]), backup.header); err != nil {
		return err
	}
	if err := dev.Sync(); err != nil {
		return err
	}
	if protected {
		return nil
	}
	// COMMIT POINT on a disk without one: nobody looks for a GPT before the
	// first sector says so.
	encodeProtective(lba0, dev.Size())
	if err := put(0, lba0); err != nil {
		return err
	}
	return dev.Sync()
}

// planGPT encodes both copies of t for a disk.
func planGPT(dev blockdev.Device, t *Table, protected bool) (primary, backup *gptCopy, err error) {
	sectors := uint64(dev.Size() / sector)
	if sectors < usualFirst+2*(newArraySectors+2) {
		return nil, nil, fmt.Errorf("a disk of %d bytes is too small for a GPT: %w", dev.Size(), ErrTable)
	}
	lowest := uint64(usualFirst)
	for _, p := range t.Parts {
		lowest = min(lowest, uint64(max(p.Start, 0))/sector)
	}
	place, err := freeArrayPlace(dev, protected, lowest)
	if err != nil {
		return nil, nil, err
	}
	return encodeGPT(dev, t, place)
}

// encodeGPT makes both copies of a table with the primary entries at sector
// place.
func encodeGPT(dev blockdev.Device, t *Table, place uint64) (primary, backup *gptCopy, err error) {
	disk, err := parseGUID(t.DiskID)
	if err != nil {
		return nil, nil, fmt.Errorf("disk: %w", err)
	}
	array, err := encodeEntries(t.Parts)
	if err != nil {
		return nil, nil, err
	}
	last := uint64(dev.Size()/sector) - 1
	c := gptCopy{array: array, first: usualFirst, last: last - newArraySectors - 1, disk: disk}
	for _, p := range t.Parts {
		c.first = min(c.first, uint64(max(p.Start, 0))/sector)
	}
	if place > c.first {
		c.last = place - 1
	} else {
		c.first = max(c.first, place+newArraySectors)
	}
	if err := checkParts(slices.Clone(t.Parts), int64(c.first)*sector, int64(c.last+1)*sector); err != nil {
		return nil, nil, err
	}
	p, b := c, c
	p.arrayLBA, b.arrayLBA = place, last-newArraySectors
	p.encodeHeader(1, last)
	b.encodeHeader(last, 1)
	return &p, &b, nil
}

// freeArrayPlace finds sectors for the primary entries that neither the
// table in force nor a partition, old or new, uses.
func freeArrayPlace(dev blockdev.Device, protected bool, lowest uint64) (uint64, error) {
	var old *gptCopy
	if protected {
		old, _ = readCopy(dev, 1) // a broken primary is nothing to be careful with
	}
	for _, place := range arrayPlaces {
		end := place + newArraySectors
		if end > lowest {
			break
		}
		if old == nil || end <= old.arrayLBA || old.arrayLBA+old.arraySectors() <= place && !old.usedBelow(end) {
			return place, nil
		}
	}
	return 0, fmt.Errorf("no %d free sectors before the first partition for the new entries: %w", newArraySectors, ErrTable)
}

// usedBelow reports whether a partition starts before sector end.
func (c *gptCopy) usedBelow(end uint64) bool {
	for e := range slices.Chunk(c.array, gptEntrySize) {
		if guid(e[:16]) != (guid{}) && le.Uint64(e[32:]) < end {
			return true
		}
	}
	return false
}

func encodeEntries(parts []Part) ([]byte, error) {
	b := make([]byte, newEntries*gptEntrySize)
	seen := map[guid]bool{}
	for _, p := range parts {
		if p.Number < 1 || p.Number > newEntries {
			return nil, fmt.Errorf("partition %d: numbers are 1 to %d: %w", p.Number, newEntries, ErrTable)
		}
		e := b[(p.Number-1)*gptEntrySize:][:gptEntrySize]
		kind, err := parseGUID(p.Type)
		if err != nil {
			return nil, fmt.Errorf("partition %d: type: %w", p.Number, err)
		}
		id, err := parseGUID(p.PartUUID)
		if err != nil {
			return nil, fmt.Errorf("partition %d: PARTUUID: %w", p.Number, err)
		}
		if seen[id] {
			return nil, fmt.Errorf("partition %d: PARTUUID %s is used twice: %w", p.Number, p.PartUUID, ErrTable)
		}
		seen[id] = true
		name := utf16.Encode([]rune(p.Name))
		if len(name) > gptNameUnits {
			return nil, fmt.Errorf("partition %d: name %q is too long: %w", p.Number, p.Name, ErrTable)
		}
		copy(e[0:], kind[:])
		copy(e[16:], id[:])
		le.PutUint64(e[32:], uint64(p.Start)/sector)
		le.PutUint64(e[40:], uint64(p.End())/sector-1)
		le.PutUint64(e[48:], p.Attributes)
		for i, unit := range name {
			le.PutUint16(e[56+2*i:], unit)
		}
	}
	return b, nil
}

// encodeHeader makes the header sector for sector lba.
func (c *gptCopy) encodeHeader(lba, alternate uint64) {
	h := make([]byte, sector)
	copy(h, gptSignature)
	le.PutUint32(h[8:], gptRevision)
	le.PutUint32(h[12:], gptHeaderSize)
	le.PutUint64(h[24:], lba)
	le.PutUint64(h[32:], alternate)
	le.PutUint64(h[40:], c.first)
	le.PutUint64(h[48:], c.last)
	copy(h[56:], c.disk[:])
	le.PutUint64(h[72:], c.arrayLBA)
	le.PutUint32(h[80:], newEntries)
	le.PutUint32(h[84:], gptEntrySize)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(c.array))
	le.PutUint32(h[gptHeaderCRCAt:], headerCRC(h))
	c.header, c.alternate = h, alternate
}

// encodeProtective puts the protective entry into the first sector and keeps
// the boot code.
func encodeProtective(lba0 []byte, size int64) {
	entries := lba0[mbrEntriesAt : mbrEntriesAt+mbrEntries*mbrEntrySize]
	clear(entries)
	copy(entries[1:], []byte{0x00, 0x02, 0x00, typeProtective, 0xFF, 0xFF, 0xFF})
	le.PutUint32(entries[8:], 1)
	le.PutUint32(entries[12:], uint32(min(size/sector-1, 1<<32-1)))
	lba0[bootSignatureAt], lba0[bootSignatureAt+1] = 0x55, 0xAA
}
