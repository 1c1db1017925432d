package partition

import (
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// The label is in one of the first four sectors (LVM2 lib/label/label.h), the
// header of the physical volume behind it in the same sector
// (lib/format_text/layout.h).
const (
	labelSectors = 4
	labelMagic   = "LABELONE"
	labelType    = "LVM2 001"
	labelSumAt   = 16 // sum of all that follows it
	labelSumFrom = 20
	labelContent = 20 // LE32: where the header is
	labelTypeAt  = 24
	labelEnd     = 32

	pvUUIDSize    = 32
	pvSizeAt      = 32
	pvAreasAt     = 40
	diskAreaSize  = 16
	maxAreas      = 8 // two in practice
	lvmCRCInitial = 0xf597a6cf
)

// lvmCRC is LVM's checksum: CRC-32 without the usual inversions.
func lvmCRC(initial uint32, b []byte) uint32 {
	return ^crc32.Update(^initial, crc32.IEEETable, b)
}

// byteRange is the bytes [off, off+size) of a device.
type byteRange struct{ off, size int64 }

// pvHeader is the header of a physical volume.
type pvHeader struct {
	uuid  string
	size  int64
	areas []byteRange // of metadata
}

func readPVHeader(dev blockdev.Device) (*pvHeader, error) {
	if dev.Size() < labelSectors*sector {
		return nil, ErrNotPV
	}
	head := make([]byte, labelSectors*sector)
	if _, err := dev.ReadAt(head, 0); err != nil {
		return nil, err
	}
	for i := range labelSectors {
		s := head[i*sector : (i+1)*sector]
		if string(s[:8]) == labelMagic {
			h, err := parseLabel(s, uint64(i))
			if err != nil {
				return nil, fmt.Errorf("label in sector %d: %w", i, err)
			}
			return h, nil
		}
	}
	return nil, ErrNotPV
}

func parseLabel(s []byte, at uint64) (*pvHeader, error) {
	content := le.Uint32(s[labelContent:])
	switch {
	case le.Uint64(s[8:]) != at:
		return nil, lvmErrorf("made for sector %d", le.Uint64(s[8:]))
	case le.Uint32(s[labelSumAt:]) != lvmCRC(lvmCRCInitial, s[labelSumFrom:]):
		return nil, lvmErrorf("wrong checksum")
	case string(s[labelTypeAt:labelEnd]) != labelType:
		return nil, lvmErrorf("type %q, not %q", s[labelTypeAt:labelEnd], labelType)
	case content < labelEnd || content > sector-pvAreasAt:
		return nil, lvmErrorf("header at byte %d", content)
	}
	return parsePVHeader(s[content:])
}

func parsePVHeader(b []byte) (*pvHeader, error) {
	uuid, err := lvmUUID(b[:pvUUIDSize])
	if err != nil {
		return nil, err
	}
	size := le.Uint64(b[pvSizeAt:])
	if size > 1<<62 {
		return nil, lvmErrorf("a volume of %d bytes", size)
	}
	// Two lists, each closed by an entry of zeros: data areas, then metadata
	// areas. What follows them is of no interest here.
	_, rest, err := diskAreas(b[pvAreasAt:])
	if err != nil {
		return nil, fmt.Errorf("data areas: %w", err)
	}
	areas, _, err := diskAreas(rest)
	if err != nil {
		return nil, fmt.Errorf("metadata areas: %w", err)
	}
	return &pvHeader{uuid: uuid, size: int64(size), areas: areas}, nil
}

func diskAreas(b []byte) (areas []byteRange, rest []byte, err error) {
	for len(b) >= diskAreaSize {
		off, size := le.Uint64(b), le.Uint64(b[8:])
		b = b[diskAreaSize:]
		if off == 0 {
			return areas, b, nil
		}
		if off > 1<<62 || size > 1<<62 || len(areas) == maxAreas {
			return nil, nil, lvmErrorf("area %d at byte %d, %d bytes", len(areas), off, size)
		}
		areas = append(areas, byteRange{int64(off), int64(size)})
	}
	return nil, nil, lvmErrorf("a list without an end")
}

// uuidGroups is how LVM divides the 32 characters of an id.
var uuidGroups = [...]int{6, 4, 4, 4, 4, 4, 6}

func lvmUUID(b []byte) (string, error) {
	var groups []string
	for _, c := range b {
		if !uuidChar(c) {
			return "", lvmErrorf("UUID %q", b)
		}
	}
	for _, n := range uuidGroups {
		groups = append(groups, string(b[:n]))
		b = b[n:]
	}
	return strings.Join(groups, "-"), nil
}

func uuidChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '!' || c == '#'
}

// validUUID holds an id from the text to the form that lvmUUID makes.
func validUUID(s string) bool {
	b := []byte(strings.ReplaceAll(s, "-", ""))
	if len(b) != pvUUIDSize {
		return false
	}
	again, err := lvmUUID(b)
	return err == nil && again == s
}
