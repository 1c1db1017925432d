package bootctl

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

func someHeader() *header {
	h := &header{layout: Layout{ID: "4f1c2a90", BootPart: 3, APart: 4, BPart: 5, DataPart: 6}, areas: newAreas()}
	off := int64(1 << 20)
	for i, e := range h.layout.files() {
		*e = Extent{Off: off, Len: PreallocatedFiles()[i].Size}
		off = roundUp(e.End())
	}
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	h := someHeader()
	for n := range uint32(headerCopies) {
		b := h.encode(n)
		got, err := parseHeader(b, n, 1<<30)
		if err != nil || got.layout != h.layout || len(got.areas) != len(h.areas) {
			t.Errorf("copy %d came back as %+v, %v", n, got, err)
		}
		if _, err := parseHeader(b, 1-n, 1<<30); err == nil {
			t.Errorf("copy %d was taken for the other one", n)
		}
		if _, err := parseHeader(b, n, 2<<20); err == nil {
			t.Errorf("copy %d was accepted on a disk that is too small", n)
		}
	}
}

// TestHeaderRefusesEveryFlippedBit: the checksum finds each of them, and
// where it is made right again, the checks of the content find the rest or
// the header says something else that is valid.
func TestHeaderRefusesEveryFlippedBit(t *testing.T) {
	good := someHeader().encode(0)
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if _, err := parseHeader(b, 0, 1<<30); err == nil {
				t.Fatalf("bit %d of byte %d flipped: accepted", bit, i)
			}
			binary.LittleEndian.PutUint32(b[offCRC:], crc32.Checksum(b[offCopy:], castagnoli))
			if h, err := parseHeader(b, 0, 1<<30); err == nil && !bytes.Equal(h.encode(0), b) {
				t.Fatalf("bit %d of byte %d flipped: accepted as something else", bit, i)
			}
		}
	}
}

func TestHeaderRefusesCounts(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"huge record count":    func(b []byte) { binary.LittleEndian.PutUint32(b[offCount:], 1<<31) },
		"too many records":     func(b []byte) { binary.LittleEndian.PutUint32(b[offCount:], maxRecords+1) },
		"huge capacity":        func(b []byte) { binary.LittleEndian.PutUint32(b[offTable+4:], 1<<31) },
		"record out of bounds": func(b []byte) { binary.LittleEndian.PutUint64(b[offTable+8:], 1<<62) },
		"record twice":         func(b []byte) { copy(b[offTable+tableEntry:offTable+tableEntry+4], b[offTable:offTable+4]) },
		"huge partition":       func(b []byte) { binary.LittleEndian.PutUint32(b[offParts:], 1<<31) },
		"negative offset":      func(b []byte) { binary.LittleEndian.PutUint64(b[offExtents:], 1<<63) },
	} {
		b := someHeader().encode(0)
		change(b)
		binary.LittleEndian.PutUint32(b[offCRC:], crc32.Checksum(b[offCopy:], castagnoli))
		if h, err := parseHeader(b, 0, 1<<40); err == nil {
			t.Errorf("%s: accepted as %+v", name, h)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, blockSize - recordHeader, blockSize - recordHeader + 1, 100000} {
		r := record{id: RecordHistory, seq: 1 << 40, data: bytes.Repeat([]byte{7}, n)}
		b := r.encode()
		got, err := parseRecord(b, RecordHistory, 100000)
		if err != nil || got.seq != r.seq || !bytes.Equal(got.data, r.data) {
			t.Errorf("record of %d bytes came back as %d bytes, %v", n, len(got.data), err)
		}
		if len(b)%blockSize != 0 {
			t.Errorf("record of %d bytes takes %d, no whole blocks", n, len(b))
		}
		if _, err := parseRecord(b, RecordResult, 100000); err == nil {
			t.Error("the history was taken for the result")
		}
		if _, err := parseRecord(b, RecordHistory, n-1); err == nil {
			t.Error("a record longer than its place was accepted")
		}
	}
}

func TestRecordRefusesEveryFlippedBit(t *testing.T) {
	good := record{id: RecordEpoch, seq: 1, data: []byte("7")}.encode()
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if r, err := parseRecord(b, RecordEpoch, 100); err == nil {
				t.Fatalf("bit %d of byte %d flipped: %+v", bit, i, r)
			}
		}
	}
}

func TestStateSize(t *testing.T) {
	last := newAreas()[len(capacities)-1]
	if end := last.off + recordCopies*last.size; end > StateSize {
		t.Errorf("the records end at %d, behind the %d of the state file", end, StateSize)
	}
}
