package partition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// UEFI specification §5.3.
const (
	gptSignature   = "EFI PART"
	gptRevision    = 0x00010000
	gptHeaderSize  = 92
	gptEntrySize   = 128
	maxGPTEntries  = 1024 // 128 in practice; the cap bounds what is read
	gptNameUnits   = 36
	gptHeaderCRCAt = 16
)

// gptCopy is one copy of a GPT, header and entries, with both CRCs checked.
// Addresses are in sectors; [first, last] is what partitions may use.
type gptCopy struct {
	header      []byte
	array       []byte
	alternate   uint64
	first, last uint64
	arrayLBA    uint64
	disk        guid
}

func (c *gptCopy) arraySectors() uint64 { return sectorsFor(len(c.array)) }

func sectorsFor(n int) uint64 { return (uint64(n) + sector - 1) / sector }

// readGPT takes the primary copy if it is good, as GRUB and firmware do, and
// the backup else.
func readGPT(dev blockdev.Device, lba0 []byte) (*Table, error) {
	primary, primaryErr := readCopy(dev, 1)
	backupLBA := uint64(dev.Size()/sector) - 1
	if primaryErr == nil && primary.alternate <= backupLBA {
		backupLBA = primary.alternate // the disk may have grown since
	}
	backup, backupErr := readCopy(dev, backupLBA)

	use, t := primary, &Table{Scheme: GPT, Primary: CopyGood, Backup: CopyGood}
	switch {
	case primaryErr != nil && backupErr != nil:
		return nil, fmt.Errorf("GPT: primary: %w; backup: %w", primaryErr, backupErr)
	case primaryErr != nil:
		use, t.Primary = backup, CopyBroken
	case backupErr != nil:
		t.Backup = CopyBroken
	case !primary.sameTable(backup):
		t.Backup = CopyStale
	}
	if err := use.parse(t, lba0); err != nil {
		return nil, fmt.Errorf("GPT: %w", err)
	}
	return t, nil
}

// sameTable reports whether two copies say the same.
func (c *gptCopy) sameTable(o *gptCopy) bool {
	return c.disk == o.disk && c.first == o.first && c.last == o.last && bytes.Equal(c.array, o.array)
}

// readCopy reads the copy whose header is in sector lba. Everything in the
// header is checked before an entry is looked at.
func readCopy(dev blockdev.Device, lba uint64) (*gptCopy, error) {
	sectors := uint64(dev.Size() / sector)
	if lba < 1 || lba >= sectors {
		return nil, fmt.Errorf("header sector %d of %d: %w", lba, sectors, ErrTable)
	}
	h := make([]byte, sector)
	if _, err := dev.ReadAt(h, int64(lba)*sector); err != nil {
		return nil, err
	}
	bad := func(what string) error { return fmt.Errorf("header in sector %d: %s: %w", lba, what, ErrTable) }
	crc := le.Uint32(h[gptHeaderCRCAt:])
	switch {
	case string(h[:8]) != gptSignature:
		return nil, bad("no signature")
	case le.Uint32(h[8:]) != gptRevision || le.Uint32(h[12:]) != gptHeaderSize:
		return nil, bad("unknown revision or size")
	case crc != headerCRC(h):
		return nil, bad("wrong CRC")
	case le.Uint64(h[24:]) != lba:
		return nil, bad("made for another sector")
	}
	c := &gptCopy{
		header: h, alternate: le.Uint64(h[32:]), first: le.Uint64(h[40:]), last: le.Uint64(h[48:]),
		disk: guid(h[56:72]), arrayLBA: le.Uint64(h[72:]),
	}
	count, entrySize := le.Uint32(h[80:]), le.Uint32(h[84:])
	if count < 1 || count > maxGPTEntries || entrySize != gptEntrySize {
		return nil, bad(fmt.Sprintf("%d entries of %d bytes", count, entrySize))
	}
	c.array = make([]byte, count*gptEntrySize)
	arrayEnd := c.arrayLBA + c.arraySectors()
	switch {
	case c.first > c.last || c.last >= sectors || c.first < 2:
		return nil, bad(fmt.Sprintf("usable sectors [%d, %d] of %d", c.first, c.last, sectors))
	case c.arrayLBA < 2 || c.arrayLBA >= sectors || arrayEnd > sectors,
		c.arrayLBA <= c.last && arrayEnd > c.first, // among the partitions
		c.arrayLBA <= lba && lba < arrayEnd:        // over its own header
		return nil, bad(fmt.Sprintf("entries in sectors [%d, %d)", c.arrayLBA, arrayEnd))
	}
	if _, err := dev.ReadAt(c.array, int64(c.arrayLBA)*sector); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(c.array) != le.Uint32(h[88:]) {
		return nil, bad("wrong CRC of the entries")
	}
	return c, nil
}

// headerCRC is the CRC of a header with its own field taken as 0.
func headerCRC(h []byte) uint32 {
	b := slices.Clone(h[:gptHeaderSize])
	clear(b[gptHeaderCRCAt : gptHeaderCRCAt+4])
	return crc32.ChecksumIEEE(b)
}

// parse fills t from a checked copy. The entries are still foreign data.
func (c *gptCopy) parse(t *Table, lba0 []byte) error {
	view := newSnapshot(append(slices.Clone(lba0), c.header...))
	view.array, view.at = c.array, int64(c.arrayLBA)*sector
	parsed, err := gpt.Read(view, sector, sector)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrTable)
	}
	if parsed.RecoveredFromBackup {
		return errors.New("internal error: a checked GPT was not accepted")
	}
	if c.disk == (guid{}) {
		return fmt.Errorf("the disk has no GUID: %w", ErrTable)
	}
	t.DiskID = c.disk.String()
	seen := map[string]int{}
	for _, p := range parsed.Partitions {
		if p.Start < c.first || p.End > c.last || p.End < p.Start {
			return fmt.Errorf("partition %d: sectors [%d, %d] are not within [%d, %d]: %w",
				p.Index, p.Start, p.End, c.first, c.last, ErrTable)
		}
		part := Part{
			Number: p.Index, Start: int64(p.Start) * sector, Size: int64(p.End-p.Start+1) * sector,
			Type: strings.ToLower(string(p.Type)), PartUUID: strings.ToLower(p.GUID),
			Name: p.Name, Attributes: p.Attributes,
		}
		// Slots are told apart by PARTUUID: two of the same are two devices
		// that the kernel would choose from at random.
		if other, twice := seen[part.PartUUID]; twice {
			return fmt.Errorf("partitions %d and %d have the same PARTUUID: %w", other, p.Index, ErrTable)
		}
		seen[part.PartUUID] = p.Index
		t.Parts = append(t.Parts, part)
	}
	return checkParts(t.Parts, int64(c.first)*sector, int64(c.last+1)*sector)
}
