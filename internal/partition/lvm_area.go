package partition

import (
	"bytes"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A metadata area: one header sector, then a ring of texts
// (LVM2 lib/format_text/layout.h).
const (
	areaMagic      = " LVM2 x[5A%r0N*>"
	areaHeaderSize = 512
	areaSumFrom    = 4
	areaVersion    = 1
	areaLocations  = 40  // of texts: the committed one, then one being written
	textIgnored    = 1   // flag: this area is not in use, its text may be old
	maxText        = 4e6 // bytes; a group of a hundred volumes has 50,000
)

// readArea returns the committed metadata of an area; nil, and no error, when
// the area is whole and holds none.
func readArea(dev blockdev.Device, area byteRange) (*VolumeGroup, error) {
	text, err := readText(dev, area)
	if err != nil {
		return nil, fmt.Errorf("metadata area at byte %d: %w", area.off, err)
	}
	if text == nil {
		return nil, nil //nolint:nilnil // documented: an empty area is no failure
	}
	group, err := parseGroup(text)
	if err != nil {
		return nil, fmt.Errorf("metadata area at byte %d: %w", area.off, err)
	}
	return group, nil
}

// readText reads the committed text of an area and checks both checksums.
func readText(dev blockdev.Device, area byteRange) ([]byte, error) {
	if area.off > maxVolume || blockdev.CheckRange(area.off, areaHeaderSize, dev.Size()) != nil {
		return nil, lvmErrorf("it lies outside of the device")
	}
	h := make([]byte, areaHeaderSize)
	if _, err := dev.ReadAt(h, area.off); err != nil {
		return nil, err
	}
	size := le.Uint64(h[32:])
	switch {
	case le.Uint32(h) != lvmCRC(lvmCRCInitial, h[areaSumFrom:]):
		return nil, lvmErrorf("wrong checksum of the header")
	case string(h[4:20]) != areaMagic:
		return nil, lvmErrorf("no signature")
	case le.Uint32(h[20:]) != areaVersion:
		return nil, lvmErrorf("version %d, not %d", le.Uint32(h[20:]), areaVersion)
	case le.Uint64(h[24:]) != uint64(area.off):
		return nil, lvmErrorf("made for byte %d", le.Uint64(h[24:]))
	case size <= areaHeaderSize || size > maxVolume || blockdev.CheckRange(area.off, int64(size), dev.Size()) != nil:
		return nil, lvmErrorf("%d bytes long", size)
	}
	loc := h[areaLocations:]
	off, length, sum, flags := le.Uint64(loc), le.Uint64(loc[8:]), le.Uint32(loc[16:]), le.Uint32(loc[20:])
	if off == 0 || flags&textIgnored != 0 {
		return nil, nil
	}
	if off < areaHeaderSize || off >= size || length == 0 || length > maxText || length > size-areaHeaderSize {
		return nil, lvmErrorf("text at byte %d of %d, %d bytes long", off, size, length)
	}
	text := make([]byte, length)
	// The text is in a ring: behind the end it goes on after the header.
	first := min(length, size-off)
	if _, err := dev.ReadAt(text[:first], area.off+int64(off)); err != nil {
		return nil, err
	}
	if first < length {
		if _, err := dev.ReadAt(text[first:], area.off+areaHeaderSize); err != nil {
			return nil, err
		}
	}
	if lvmCRC(lvmCRCInitial, text) != sum {
		return nil, lvmErrorf("wrong checksum of the text")
	}
	return bytes.TrimSuffix(text, []byte{0}), nil
}
