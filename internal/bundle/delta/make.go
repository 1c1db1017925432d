package delta

import (
	"errors"
	"fmt"
	"io"
)

// ErrSource says that the old image could not be read where it is needed.
var ErrSource = errors.New("reading the old image failed")

// Maker makes frames. It keeps its memory from frame to frame; each goroutine
// needs one of its own.
type Maker struct {
	old    io.ReaderAt
	size   int64 // of the old image in bytes
	room   int64 // blocks that a window needs at most; 0: not known
	model  *model
	window []byte
}

// NewMaker returns a Maker for frames coded against the first size bytes of
// old. With the limits of the longest frame its memory is taken once.
func NewMaker(old io.ReaderAt, size int64, l Limits) *Maker {
	return &Maker{old: old, size: size, room: l.Dict + l.Frame}
}

// Make makes a frame into dst, whose length may be less than whole blocks. dst
// may be what the record was parsed from: that is read before dst is written. The
// caller compares its hash: Make returns an error where it knows of one, and
// else what the record gives with what the old image holds now.
func (m *Maker) Make(dst []byte, r *Record) error {
	start := int(r.dict * BlockSize)
	window, err := m.dictionary(r)
	if err != nil {
		return err
	}
	if r.coded > 0 {
		if m.model == nil {
			m.model = new(model)
		}
		if err := decode(m.model, window, start, r.plain, r.code); err != nil {
			return fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
	coded := window[start:]
	for _, o := range r.ops {
		n := min(int(o.count*BlockSize), len(dst))
		out := dst[:n]
		dst = dst[n:]
		switch o.kind {
		case opCopy:
			if err := m.read(out, o.from); err != nil {
				return err
			}
		case opZero:
			clear(out)
		case opCoded:
			copy(out, coded)
			coded = coded[o.count*BlockSize:]
		}
	}
	return nil
}

// dictionary returns a window with room for what is coded.
func (m *Maker) dictionary(r *Record) ([]byte, error) {
	n := int((r.dict + r.coded) * BlockSize)
	if cap(m.window) < n {
		m.window = make([]byte, max(n, int(m.room*BlockSize)))
	}
	window := m.window[:n]
	at := int64(0)
	for _, p := range r.pieces {
		if err := m.read(window[at:at+p.count*BlockSize], p.from); err != nil {
			return nil, err
		}
		at += p.count * BlockSize
	}
	return window, nil
}

// read reads blocks of the old image; behind its end there are zeros.
func (m *Maker) read(b []byte, block int64) error {
	off := block * BlockSize
	n := max(0, min(int64(len(b)), m.size-off))
	clear(b[n:])
	if got, err := m.old.ReadAt(b[:n], off); got < int(n) {
		return fmt.Errorf("%w: bytes [%d, %d): %w", ErrSource, off, off+n, err)
	}
	return nil
}
