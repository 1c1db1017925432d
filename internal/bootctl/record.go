package bootctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// RecordID names a record of the state file.
type RecordID uint32

// The records. What they hold is the business of the packages above.
const (
	RecordDevice   RecordID = iota + 1 // product and compatible names of this device
	RecordKeyring                      // the newest keyring that was accepted
	RecordEpoch                        // the lowest epoch that is accepted
	RecordSlotA                        // what was written to slot a
	RecordSlotB                        // what was written to slot b
	RecordResult                       // the last result
	RecordHistory                      // the results before it
	RecordJournal                      // how far a migration has come
	RecordBaseline                     // the health before the update
	RecordParity                       // how the old system of a migration appeared to others
)

// String names the record for messages.
func (id RecordID) String() string {
	switch id {
	case RecordDevice:
		return "device"
	case RecordKeyring:
		return "keyring"
	case RecordEpoch:
		return "epoch"
	case RecordSlotA:
		return "slot a"
	case RecordSlotB:
		return "slot b"
	case RecordResult:
		return "result"
	case RecordHistory:
		return "history"
	case RecordJournal:
		return "journal"
	case RecordBaseline:
		return "baseline"
	case RecordParity:
		return "parity"
	}
	return fmt.Sprintf("bootctl.RecordID(%d)", uint32(id))
}

const kib = 1 << 10

// capacities says how many bytes each record holds, in the order of the state
// file. A disk keeps the capacities that it was set up with: they are in its
// header.
var capacities = []struct {
	id    RecordID
	bytes int
}{
	{RecordDevice, 64 * kib},
	{RecordKeyring, 256 * kib},
	{RecordEpoch, 64 * kib},
	{RecordSlotA, 1024*kib + 64*kib}, // a manifest's envelope and what we say about it
	{RecordSlotB, 1024*kib + 64*kib},
	{RecordResult, 64 * kib},
	{RecordHistory, 256 * kib},
	{RecordJournal, 64 * kib},
	{RecordBaseline, 64 * kib},
	{RecordParity, 64 * kib},
}

const (
	// StateSize is the length in bytes of the state file. The records of today
	// take 6 MiB; the rest is for those of tomorrow.
	StateSize = 8 << 20

	// maxRecord bounds what is read into memory on the word of a header.
	maxRecord = 2 << 20

	// recordCopies: a write goes to the copy that is not the newest, so a
	// write that is cut off leaves the newest one as it was.
	recordCopies = 2

	recordMagic  = "abrecord"
	recOffCRC    = 8 // CRC32C of everything behind it, to the record's end
	recOffID     = 12
	recOffSeq    = 16
	recOffLen    = 24
	recOffZero   = 28
	recordHeader = 32
)

func areaSize(capacity int) int64 { return roundUp(recordHeader + int64(capacity)) }

// newAreas lays the records of a new state file out.
func newAreas() []area {
	areas := make([]area, 0, len(capacities))
	off := int64(headerCopies * headerSize)
	for _, c := range capacities {
		a := area{id: c.id, capacity: c.bytes, off: off, size: areaSize(c.bytes)}
		areas = append(areas, a)
		off += recordCopies * a.size
	}
	return areas
}

// record is one copy of a record.
type record struct {
	id   RecordID
	seq  uint64 // the copy with the higher one is the newest
	data []byte
}

// encode returns the record, filled with zeros to whole blocks: a write then
// touches no physical sector of anything else.
func (r record) encode() []byte {
	b := make([]byte, roundUp(recordHeader+int64(len(r.data))))
	le := binary.LittleEndian
	copy(b, recordMagic)
	le.PutUint32(b[recOffID:], uint32(r.id))
	le.PutUint64(b[recOffSeq:], r.seq)
	le.PutUint32(b[recOffLen:], uint32(len(r.data)))
	copy(b[recordHeader:], r.data)
	le.PutUint32(b[recOffCRC:], crc32.Checksum(b[recOffID:recordHeader+len(r.data)], castagnoli))
	return b
}

// recordLen returns how many bytes parseRecord needs, given the first block.
func recordLen(first []byte, capacity int) (int64, error) {
	if len(first) < recordHeader || string(first[:recOffCRC]) != recordMagic {
		return 0, errors.New("no record here")
	}
	n := binary.LittleEndian.Uint32(first[recOffLen:])
	if int64(n) > int64(capacity) {
		return 0, fmt.Errorf("record of %d bytes in a place for %d", n, capacity)
	}
	return roundUp(recordHeader + int64(n)), nil
}

// parseRecord reads a record with the given id. It is strict: what it
// accepts, encode gives back byte for byte.
func parseRecord(b []byte, id RecordID, capacity int) (record, error) {
	n, err := recordLen(b, capacity)
	if err != nil {
		return record{}, err
	}
	if int64(len(b)) != n {
		return record{}, fmt.Errorf("%d bytes for a record of %d", len(b), n)
	}
	le := binary.LittleEndian
	end := recordHeader + int(le.Uint32(b[recOffLen:]))
	r := record{id: RecordID(le.Uint32(b[recOffID:])), seq: le.Uint64(b[recOffSeq:]), data: b[recordHeader:end:end]}
	switch {
	case le.Uint32(b[recOffCRC:]) != crc32.Checksum(b[recOffID:end], castagnoli):
		return record{}, errors.New("wrong checksum")
	case r.id != id:
		return record{}, fmt.Errorf("record %v where %v should be", r.id, id)
	case string(r.encode()) != string(b):
		return record{}, errors.New("unexpected bytes in unused places")
	}
	return r, nil
}
