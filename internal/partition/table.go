// Package partition reads and writes partition tables and system slots.
//
// Invariant: nothing that lies on a disk is trusted before it is checked, and
// at every moment of a Write a power cut leaves the old table or the new one,
// readable by GRUB, which knows the primary GPT only. Start with Read for
// tables and with NewSlotWriter for slots.
package partition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// ErrTable is wrapped by each error about a partition table that is missing,
// damaged, or not one that abupdate handles.
var ErrTable = errors.New("unusable partition table")

// Scheme is the kind of a partition table.
type Scheme uint8

// The schemes. The zero value is invalid on purpose.
const (
	MBR Scheme = iota + 1
	GPT
)

// String returns the scheme's usual name.
func (s Scheme) String() string {
	switch s {
	case MBR:
		return "MBR"
	case GPT:
		return "GPT"
	}
	return fmt.Sprintf("partition.Scheme(%d)", uint8(s))
}

// Copy is the condition of one of the two copies of a GPT.
type Copy uint8

// The conditions. The zero value is that of an MBR table, which has no copies.
const (
	CopyGood   Copy = iota + 1
	CopyBroken      // not there, or damaged
	CopyStale       // whole, but the backup tells of another table than the primary
)

// String returns the condition in one word.
func (c Copy) String() string {
	switch c {
	case CopyGood:
		return "good"
	case CopyBroken:
		return "broken"
	case CopyStale:
		return "stale"
	}
	return fmt.Sprintf("partition.Copy(%d)", uint8(c))
}

// Table is a partition table.
type Table struct {
	Scheme Scheme
	// DiskID is the MBR's disk signature, 8 hex digits, or the GPT's GUID;
	// lower case.
	DiskID string
	// Parts are the entries in use, by number.
	Parts []Part

	// Primary and Backup tell what Read found of a GPT; Write ignores them.
	// GRUB boots on BIOS from a good primary only.
	Primary, Backup Copy
}

// Part is one partition.
type Part struct {
	Number int
	Start  int64 // bytes from the start of the disk
	Size   int64 // bytes
	// Type is the MBR's type, two hex digits, or the GPT's GUID; lower case.
	Type string
	// PartUUID is what the kernel calls PARTUUID. For an MBR it follows from
	// the disk signature and the number; Write then ignores it.
	PartUUID string
	// Name and Attributes exist in a GPT only.
	Name       string
	Attributes uint64
	// Active is the MBR's boot flag.
	Active bool
}

// End is the first byte after the partition.
func (p Part) End() int64 { return p.Start + p.Size }

// Types of partitions that abupdate makes.
const (
	TypeMBRLinux = "83"
	TypeLinux    = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	TypeESP      = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	TypeBIOSBoot = "21686148-6449-6e6f-744e-656564454649"
)

// Part returns the partition with a number.
func (t *Table) Part(number int) (Part, bool) {
	for _, p := range t.Parts {
		if p.Number == number {
			return p, true
		}
	}
	return Part{}, false
}

const (
	sector = blockdev.SectorSize

	bootSignatureAt = 510
	mbrEntriesAt    = 446
	mbrEntrySize    = 16
	mbrEntries      = 4
	typeProtective  = 0xEE
)

// Read reads the partition table of a disk. Logical partitions of an MBR are
// not listed, only the extended partition that holds them.
func Read(dev blockdev.Device) (*Table, error) {
	t, err := read(dev)
	if err != nil {
		return nil, fmt.Errorf("reading the partition table: %w", err)
	}
	return t, nil
}

func read(dev blockdev.Device) (*Table, error) {
	if dev.SectorSize() != sector {
		return nil, fmt.Errorf("sectors of %d bytes, only %d are supported: %w", dev.SectorSize(), sector, ErrTable)
	}
	lba0 := make([]byte, sector)
	if dev.Size() < sector {
		return nil, fmt.Errorf("a disk of %d bytes: %w", dev.Size(), ErrTable)
	}
	if _, err := dev.ReadAt(lba0, 0); err != nil {
		return nil, err
	}
	if !hasBootSignature(lba0) {
		return nil, fmt.Errorf("no boot signature in the first sector: %w", ErrTable)
	}
	// An entry of type 0xEE says GPT, and that is final. go-diskfs would show
	// the protective entry as an MBR table when it cannot read the GPT, and
	// who believes that loses every partition.
	if hasProtectiveEntry(lba0) {
		return readGPT(dev, lba0)
	}
	return readMBR(dev, lba0)
}

func hasBootSignature(lba0 []byte) bool {
	return lba0[bootSignatureAt] == 0x55 && lba0[bootSignatureAt+1] == 0xAA
}

func hasProtectiveEntry(lba0 []byte) bool {
	for i := range mbrEntries {
		if lba0[mbrEntriesAt+i*mbrEntrySize+4] == typeProtective {
			return true
		}
	}
	return false
}

// checkParts refuses partitions outside of [first, end) and numbers used
// twice; it sorts them by number. Overlapping ones pass: a disk in the middle
// of a migration has them, and the kernel accepts them.
func checkParts(parts []Part, first, end int64) error {
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Compare(a.Number, b.Number) })
	for i, p := range parts {
		if p.Start%sector != 0 || p.Size%sector != 0 || p.Size <= 0 || p.Start < first || p.Start > end || p.Size > end-p.Start {
			return fmt.Errorf("partition %d: bytes [%d, %d) are not whole sectors of [%d, %d): %w",
				p.Number, p.Start, p.End(), first, end, ErrTable)
		}
		if i > 0 && parts[i-1].Number == p.Number {
			return fmt.Errorf("two partitions have number %d: %w", p.Number, ErrTable)
		}
	}
	return nil
}

// Overlap returns two partitions that share bytes of the disk, and whether
// there are any. Only the trial of a migration has them: slot a lies within a
// partition of the old system. Read accepts such a table, Write refuses it.
func (t *Table) Overlap() (a, b Part, yes bool) {
	byStart := slices.Clone(t.Parts)
	slices.SortFunc(byStart, func(a, b Part) int { return cmp.Compare(a.Start, b.Start) })
	for i, b := range byStart {
		for _, a := range byStart[:i] {
			if a.End() > b.Start {
				return a, b, true
			}
		}
	}
	return Part{}, Part{}, false
}

func refuseOverlap(t *Table) error {
	if a, b, yes := t.Overlap(); yes {
		return fmt.Errorf("partitions %d and %d overlap: %w", a.Number, b.Number, ErrTable)
	}
	return nil
}
