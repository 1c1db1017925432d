// Package delta codes the frames of a new image against an old image, and
// makes them again from the code and the old image.
//
// A Record holds the instructions for one frame, and needs no other: blocks
// to copy from the old image, blocks of zeros, blocks as they are, and blocks
// that are coded with pieces of the old image as dictionary. docs/bundle-format.md
// has the byte tables.
//
// Nothing here is trusted, and nothing here decides: what a Maker makes is a
// guess until its hash has been compared with the signed one. Whatever the
// record and the old image hold, a Maker returns, in bounded time and memory,
// a frame or an error.
//
// Start with NewBuilder on the one side and Parse on the other.
package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// BlockSize is the unit of instructions, in bytes.
const BlockSize = 4096

// Limits of the format, in blocks.
const (
	// MaxFrame bounds a frame: 16 MiB.
	MaxFrame = 4096
	// MaxDict bounds the dictionary of a frame: 8 MiB.
	MaxDict = 2048
)

// ErrRecord says that the record makes no sense, whatever the old image holds.
var ErrRecord = errors.New("delta record damaged")

// opKind says where blocks of a frame come from.
type opKind uint8

const (
	opCopy  opKind = iota + 1 // from the old image
	opZero                    // zeros
	opCoded                   // out of the code
)

// op makes the next count blocks of a frame.
type op struct {
	kind  opKind
	count int64
	from  int64 // opCopy: first block in the old image
}

// piece is a part of the old image that is in the dictionary, in blocks.
type piece struct{ from, count int64 }

// Record is how to make a frame.
type Record struct {
	ops    []op
	pieces []piece // sorted, apart from each other
	plain  []byte
	code   []byte

	dict, coded int64 // blocks
}

// Sources calls read for what of the old image is needed to make the frame, in
// bytes. Parts with little between them are one.
func (r *Record) Sources(read func(off, n int64)) {
	const little = 16 // blocks
	var off, end int64
	add := func(from, count int64) {
		if from < off || from > end+little {
			if end > off {
				read(off*BlockSize, (end-off)*BlockSize)
			}
			off, end = from, from
		}
		end = max(end, from+count)
	}
	for _, p := range r.pieces {
		add(p.from, p.count)
	}
	for _, o := range r.ops {
		if o.kind == opCopy {
			add(o.from, o.count)
		}
	}
	if end > off {
		read(off*BlockSize, (end-off)*BlockSize)
	}
}

// Limits are what a record must keep to.
type Limits struct {
	Frame int64 // length of the frame in blocks
	Old   int64 // length of the old image in blocks
	Dict  int64 // longest dictionary in blocks
}

// Marshal encodes a record: Parse gives it back.
func (r *Record) Marshal() []byte {
	b := binary.AppendUvarint(nil, uint64(len(r.ops)))
	next := int64(0)
	for _, o := range r.ops {
		b = binary.AppendUvarint(b, uint64(o.count)<<2|uint64(o.kind-1))
		if o.kind == opCopy {
			b = binary.AppendVarint(b, o.from-next)
			next = o.from + o.count
		}
	}
	b = binary.AppendUvarint(b, uint64(len(r.pieces)))
	next = 0
	for _, p := range r.pieces {
		b = binary.AppendUvarint(b, uint64(p.from-next))
		b = binary.AppendUvarint(b, uint64(p.count))
		next = p.from + p.count
	}
	b = binary.AppendUvarint(b, uint64(len(r.plain)))
	return append(append(b, r.plain...), r.code...)
}

// Parse parses the record of a frame. The record keeps parts of b.
func Parse(b []byte, l Limits) (*Record, error) {
	p := &parser{b: b}
	r := p.record(l)
	if p.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, p.err)
	}
	return r, nil
}

type parser struct {
	b   []byte
	err error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// uvarint reads a number, in its shortest form only.
func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || n > 1 && p.b[n-1] == 0 {
		p.fail("a number is cut short or not in its shortest form")
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) varint() int64 {
	v := p.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (p *parser) record(l Limits) *Record {
	r := &Record{}
	p.ops(r, l)
	p.pieces(r, l)
	for _, o := range r.ops {
		if o.kind == opCoded {
			r.coded += o.count
		}
	}
	plain := p.uvarint()
	if plain > uint64(len(p.b)) {
		p.fail("%d plain bytes are missing in it", plain)
	}
	if p.err != nil {
		return nil
	}
	r.plain, r.code = p.b[:plain], p.b[plain:]
	if r.coded == 0 && (len(p.b) > 0 || len(r.pieces) > 0) {
		p.fail("a code for nothing")
	}
	return r
}

func (p *parser) ops(r *Record, l Limits) {
	n := p.uvarint()
	if n > uint64(l.Frame) {
		p.fail("%d instructions for %d blocks", n, l.Frame)
		return
	}
	left, next := l.Frame, int64(0)
	for range n {
		v := p.uvarint()
		o := op{kind: opKind(v&3) + 1, count: int64(v >> 2 & math.MaxInt64)}
		if o.kind > opCoded || o.count <= 0 || o.count > left {
			p.fail("an instruction for %d blocks where %d are left", o.count, left)
			return
		}
		left -= o.count
		if o.kind == opCopy {
			// A difference out of range wraps around to a place out of range,
			// or to one in range, which is then as good as any.
			o.from = next + p.varint()
			if o.from < 0 || o.from > l.Old-o.count {
				p.fail("a copy from outside the old image")
				return
			}
			next = o.from + o.count
		}
		r.ops = append(r.ops, o)
	}
	if left != 0 {
		p.fail("%d blocks without instructions", left)
	}
}

func (p *parser) pieces(r *Record, l Limits) {
	n := p.uvarint()
	if n > uint64(l.Dict) {
		p.fail("a dictionary of %d pieces", n)
		return
	}
	next := int64(0)
	for i := range n {
		gap, count := p.uvarint(), p.uvarint()
		if gap > uint64(l.Old-next) || count == 0 || count > uint64(l.Dict-r.dict) || i > 0 && gap == 0 {
			p.fail("a dictionary that is too long, or out of order")
			return
		}
		from := next + int64(gap)
		if int64(count) > l.Old-from {
			p.fail("a dictionary from outside the old image")
			return
		}
		next = from + int64(count)
		r.dict += int64(count)
		r.pieces = append(r.pieces, piece{from, int64(count)})
	}
}
