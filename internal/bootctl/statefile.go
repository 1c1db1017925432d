package bootctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The state file is two copies of a header of headerSize bytes, and then, for
// each record, two copies of its area. docs/boot-state.md has the byte tables.
const (
	headerMagic  = "abupdate-state/1" // 16 bytes; a changed format changes it
	headerSize   = blockSize
	headerCopies = 2

	offCRC     = 16 // CRC32C of everything behind it
	offCopy    = 20
	offID      = 24
	offParts   = 32
	offExtents = 48
	offCount   = 160
	offTable   = 168

	tableEntry = 24
	maxRecords = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// area is the place of one record: two copies of size bytes each, the first
// at off bytes into the state file.
type area struct {
	id        RecordID
	capacity  int // most bytes of a record
	off, size int64
}

// header is the decoded head of a state file.
type header struct {
	layout Layout
	areas  []area
}

func (h *header) area(id RecordID) (area, bool) {
	for _, a := range h.areas {
		if a.id == id {
			return a, true
		}
	}
	return area{}, false
}

// encode returns copy number n of the header.
func (h *header) encode(n uint32) []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, headerMagic)
	le.PutUint32(b[offCopy:], n)
	copy(b[offID:offParts], h.layout.ID)
	l := &h.layout
	for i, part := range [...]int{l.BootPart, l.APart, l.BPart, l.DataPart} {
		le.PutUint32(b[offParts+4*i:], uint32(part))
	}
	for i, e := range l.files() {
		le.PutUint64(b[offExtents+16*i:], uint64(e.Off))
		le.PutUint64(b[offExtents+16*i+8:], uint64(e.Len))
	}
	le.PutUint32(b[offCount:], uint32(len(h.areas)))
	for i, a := range h.areas {
		entry := b[offTable+tableEntry*i:]
		le.PutUint32(entry, uint32(a.id))
		le.PutUint32(entry[4:], uint32(a.capacity))
		le.PutUint64(entry[8:], uint64(a.off))
		le.PutUint64(entry[16:], uint64(a.size))
	}
	le.PutUint32(b[offCRC:], crc32.Checksum(b[offCopy:], castagnoli))
	return b
}

// parseHeader reads copy number n of a header from a disk of size bytes. It
// is strict: what it accepts, encode gives back byte for byte.
func parseHeader(b []byte, n uint32, size int64) (*header, error) {
	le := binary.LittleEndian
	switch {
	case len(b) != headerSize:
		return nil, fmt.Errorf("%d bytes long, not %d", len(b), headerSize)
	case string(b[:offCRC]) != headerMagic:
		return nil, errors.New("no state file header")
	case le.Uint32(b[offCRC:]) != crc32.Checksum(b[offCopy:], castagnoli):
		return nil, errors.New("wrong checksum")
	case le.Uint32(b[offCopy:]) != n:
		return nil, fmt.Errorf("copy %d where copy %d should be", le.Uint32(b[offCopy:]), n)
	}
	h := &header{layout: Layout{ID: string(b[offID:offParts])}}
	l := &h.layout
	for i, part := range [...]*int{&l.BootPart, &l.APart, &l.BPart, &l.DataPart} {
		*part = int(le.Uint32(b[offParts+4*i:]))
	}
	for i, e := range l.files() {
		e.Off, e.Len = int64(le.Uint64(b[offExtents+16*i:])), int64(le.Uint64(b[offExtents+16*i+8:]))
	}
	if err := l.Validate(size); err != nil {
		return nil, err
	}
	if err := h.parseAreas(b); err != nil {
		return nil, err
	}
	if string(h.encode(n)) != string(b) {
		return nil, errors.New("unexpected bytes in unused places")
	}
	return h, nil
}

func (h *header) parseAreas(b []byte) error {
	le := binary.LittleEndian
	count := le.Uint32(b[offCount:])
	if count > maxRecords {
		return fmt.Errorf("%d records, at most %d are possible", count, maxRecords)
	}
	next := int64(headerCopies * headerSize)
	for i := range int(count) {
		entry := b[offTable+tableEntry*i:]
		a := area{
			id:       RecordID(le.Uint32(entry)),
			capacity: int(le.Uint32(entry[4:])),
			off:      int64(le.Uint64(entry[8:])),
			size:     int64(le.Uint64(entry[16:])),
		}
		if a.capacity > maxRecord || a.size != areaSize(a.capacity) || a.off != next {
			return fmt.Errorf("record %d does not follow on the one before", uint32(a.id))
		}
		if _, twice := h.area(a.id); twice {
			return fmt.Errorf("record %d twice", uint32(a.id))
		}
		if next += recordCopies * a.size; next > h.layout.State.Len {
			return fmt.Errorf("record %d lies outside of the state file", uint32(a.id))
		}
		h.areas = append(h.areas, a)
	}
	return nil
}
