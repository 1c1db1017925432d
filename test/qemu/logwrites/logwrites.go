// Package logwrites reads what QEMU's blklogwrites driver recorded: each write
// and flush of a guest, in order, in the format of the Linux device-mapper
// target log-writes (Documentation/admin-guide/device-mapper/log-writes.rst).
//
// Killing QEMU does not test flushes, because the host keeps what it was
// given. Replaying a prefix of the log onto the disk as it was before does: it
// is the disk after a power cut at that write. Start with Open.
//
// Invariant: nothing read from a log is trusted before it is checked against
// the size of the log.
package logwrites

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	magic     = 0x6a736677736872
	version   = 1
	superLen  = 28
	entryLen  = 32
	minSector = 512
	maxSector = 1 << 20
)

// Flags of an entry.
type Flags uint64

// The flags of the kernel's log_write_entry.
const (
	Flush Flags = 1 << iota
	FUA
	Discard
	Mark
	Metadata

	allFlags = Flush | FUA | Discard | Mark | Metadata
)

// Entry is one request of the guest. All numbers are bytes.
type Entry struct {
	// [Off, Off+Len) of the disk is written or discarded; Len is 0 for a pure
	// flush.
	Off, Len int64
	Flags    Flags
	// data is where the content stands in the log.
	data int64
}

// Durable reports whether everything before the entry is durable after it.
func (e Entry) Durable() bool { return e.Flags&Flush != 0 }

// Log is an opened log.
type Log struct {
	Entries []Entry
	// SectorSize is the unit of a write that is never torn.
	SectorSize int64
	r          io.ReaderAt
}

// Open reads the directory of a log of size bytes.
func Open(r io.ReaderAt, size int64) (*Log, error) {
	var super [superLen]byte
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), super[:]); err != nil {
		return nil, fmt.Errorf("reading the superblock of the write log: %w", err)
	}
	le := binary.LittleEndian
	if m, v := le.Uint64(super[0:]), le.Uint64(super[8:]); m != magic || v != version {
		return nil, fmt.Errorf("write log: magic %#x version %d, want %#x version %d", m, v, uint64(magic), version)
	}
	count, sector := le.Uint64(super[16:]), int64(le.Uint32(super[24:]))
	if sector < minSector || sector > maxSector || sector&(sector-1) != 0 {
		return nil, fmt.Errorf("write log: sectors of %d bytes", sector)
	}
	// Each entry takes at least its own sector.
	if count > uint64(size/sector) {
		return nil, fmt.Errorf("write log: %d entries do not fit into %d bytes", count, size)
	}
	l := &Log{r: r, SectorSize: sector}
	pos := sector
	for i := range count {
		e, next, err := l.entry(pos, size)
		if err != nil {
			return nil, fmt.Errorf("write log: entry %d at byte %d: %w", i, pos, err)
		}
		l.Entries = append(l.Entries, e)
		pos = next
	}
	return l, nil
}

// entry reads the entry at pos and returns the position of the next.
func (l *Log) entry(pos, size int64) (Entry, int64, error) {
	var raw [entryLen]byte
	if pos > size-l.SectorSize {
		return Entry{}, 0, io.ErrUnexpectedEOF
	}
	if _, err := l.r.ReadAt(raw[:], pos); err != nil {
		return Entry{}, 0, err
	}
	le := binary.LittleEndian
	start, count, flags, dataLen := le.Uint64(raw[0:]), le.Uint64(raw[8:]), Flags(le.Uint64(raw[16:])), le.Uint64(raw[24:])
	if flags&^allFlags != 0 {
		return Entry{}, 0, fmt.Errorf("unknown flags %#x", uint64(flags))
	}
	const maxSectors = 1 << 42 // keeps byte offsets far from overflow
	if start > maxSectors || count > maxSectors/uint64(l.SectorSize) || start > maxSectors/uint64(l.SectorSize) {
		return Entry{}, 0, fmt.Errorf("sectors [%d, +%d) are beyond any disk", start, count)
	}
	e := Entry{Off: int64(start) * l.SectorSize, Len: int64(count) * l.SectorSize, Flags: flags, data: pos + l.SectorSize}
	next := e.data
	switch {
	case flags&Mark != 0:
		// A mark's text stands in the sector of the entry itself.
		if dataLen > uint64(l.SectorSize-entryLen) {
			return Entry{}, 0, fmt.Errorf("mark of %d bytes", dataLen)
		}
		e.Off, e.Len = 0, 0
	case flags&Discard == 0:
		if e.Len > size-e.data {
			return Entry{}, 0, fmt.Errorf("%d bytes of content: %w", e.Len, io.ErrUnexpectedEOF)
		}
		next += e.Len
	}
	return e, next, nil
}

// Apply does what entry i did to a disk. A discarded range becomes zeros.
func (l *Log) Apply(i int, disk io.WriterAt) error {
	return l.ApplyTorn(i, disk, l.Entries[i].Len)
}

// ApplyTorn does the first n bytes of entry i: a write that the power cut has
// torn. n is a multiple of SectorSize.
func (l *Log) ApplyTorn(i int, disk io.WriterAt, n int64) error {
	e := l.Entries[i]
	if n < 0 || n > e.Len || n%l.SectorSize != 0 {
		return fmt.Errorf("internal error: %d bytes of an entry of %d", n, e.Len)
	}
	var content io.Reader = io.NewSectionReader(l.r, e.data, n)
	if e.Flags&Discard != 0 {
		content = io.LimitReader(zeros{}, n)
	}
	if _, err := io.Copy(io.NewOffsetWriter(disk, e.Off), content); err != nil {
		return fmt.Errorf("replaying write %d: %w", i, err)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
