package blockdevtest

import (
	"bytes"
	"fmt"
)

// Op is one recorded operation: a Sync, a discarded range, a zeroed range
// (Data nil), or a write.
type Op struct {
	Sync    bool
	Discard bool
	Off     int64
	Len     int64
	Data    []byte
}

// String says what the operation was, for the report of a violation.
func (o Op) String() string {
	switch {
	case o.Sync:
		return "sync"
	case o.Discard:
		return fmt.Sprintf("discard [%d, %d)", o.Off, o.Off+o.Len)
	case o.Data == nil:
		return fmt.Sprintf("zero [%d, %d)", o.Off, o.Off+o.Len)
	}
	return fmt.Sprintf("write [%d, %d)", o.Off, o.Off+o.Len)
}

// discarded is what a discarded range reads as: neither what was there nor
// zeros, because no disk promises either.
var discarded = bytes.Repeat([]byte{0xD1}, pageSize)

func (o Op) apply(m image) image {
	switch {
	case o.Sync:
		return m
	case o.Discard:
		for at := o.Off; at < o.Off+o.Len; {
			n := min(pageSize-at%pageSize, o.Off+o.Len-at)
			m, at = m.write(discarded[:n], at), at+n
		}
		return m
	case o.Data == nil:
		return m.zero(o.Off, o.Len)
	}
	return m.write(o.Data, o.Off)
}

func applyAll(m image, ops []Op) image {
	for _, o := range ops {
		m = o.apply(m)
	}
	return m
}

// part returns the operation cut down to the bytes [from, to) of it.
func (o Op) part(from, to int64) Op {
	p := Op{Discard: o.Discard, Off: o.Off + from, Len: to - from}
	if o.Data != nil {
		p.Data = o.Data[from:to]
	}
	return p
}
