package partition

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// HeadSize is the length of the piece at the start of a slot that is written
// last. Every file system that a slot may hold keeps its first superblock in
// it, so a half-written slot is no file system and cannot be booted.
const HeadSize = 1 << 20

// Errors of a SlotWriter.
var (
	// ErrTooLarge: the image does not fit into the slot.
	ErrTooLarge = errors.New("image is larger than the slot")
	// ErrReadBack: the slot does not hold what was written.
	ErrReadBack = errors.New("the disk does not return what was written")
)

// SlotWriter writes an image into a slot, in pieces and in any order.
//
// Invariant: from its first write until Finish the first MiB of the slot is
// zeros; it gets its content only when everything else is durable. It writes
// nothing outside of its device, so give it a device that is bounded to the
// slot. All methods may be called from several goroutines, but Finish and
// Verify only after the writes.
type SlotWriter struct {
	dev     blockdev.Device
	size    int64
	headLen int64
	buffers sync.Pool

	written atomic.Int64

	mu     sync.Mutex
	begun  bool
	head   []byte          // the image's first bytes, or what the slot had there
	have   map[int64]int64 // pieces written or found: offset → length
	found  map[int64]bool  // those of them that Holds has read from the disk
	failed error           // the first failed write; nothing works after it
}

// chunk is the unit of reading and of buffers.
const chunk = 1 << 20

// NewSlotWriter returns a writer of an image of size bytes into dev. It
// writes nothing yet.
func NewSlotWriter(dev blockdev.Device, size int64) (*SlotWriter, error) {
	if size <= 0 || size%sector != 0 {
		return nil, fmt.Errorf("an image of %d bytes: not whole sectors of %d", size, sector)
	}
	if size > dev.Size() {
		return nil, fmt.Errorf("%w: %d bytes into %d", ErrTooLarge, size, dev.Size())
	}
	return &SlotWriter{
		dev: dev, size: size, headLen: min(size, HeadSize),
		buffers: sync.Pool{New: func() any { b := [2][]byte(blockdev.AlignedBuffers(2, chunk)); return &b }},
		have:    map[int64]int64{},
		found:   map[int64]bool{},
	}, nil
}

// BytesWritten is the number of image bytes written or zeroed so far. Bytes
// that were there already do not count.
func (s *SlotWriter) BytesWritten() int64 { return s.written.Load() }

// Begin makes the slot unbootable: its first MiB becomes zeros. WriteFrame
// does it by itself; call it to be sure that old content cannot boot any more.
// A slot that Holds everything needs no Begin, and keeps its first MiB.
func (s *SlotWriter) Begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin()
}

func (s *SlotWriter) begin() error {
	if s.failed != nil || s.begun {
		return s.failed
	}
	// What is there now may be the image's first MiB already: Holds tells.
	s.head = blockdev.AlignedBuffer(int(s.headLen))
	_, readErr := s.dev.ReadAt(s.head, 0)
	if readErr != nil {
		clear(s.head) // see Holds; the zeros that follow make it readable
	}
	if readErr != nil || !isZero(s.head) {
		if err := blockdev.Zero(s.dev, 0, s.headLen); err != nil {
			return s.fail(fmt.Errorf("zeroing the first MiB of the slot: %w", err))
		}
	}
	// A cut before this Sync leaves the old content, whole but for its first
	// MiB perhaps; after it the slot is not bootable until Finish. Without it
	// a later piece could reach the disk first: old superblock, new content.
	if err := s.dev.Sync(); err != nil {
		return s.fail(fmt.Errorf("zeroing the first MiB of the slot: %w", err))
	}
	s.begun = true
	return nil
}

// fail remembers the first error: after a failed Sync the kernel may drop
// written data and report the next Sync as good.
func (s *SlotWriter) fail(err error) error {
	if s.failed == nil {
		s.failed = err
	}
	return err
}

// Holds reports whether the slot has the image bytes of p already. They need
// not be written then. What cannot be read is not there: a power cut may leave
// a sector that fails until it is written, and an update that insisted on
// reading it first would never end.
func (s *SlotWriter) Holds(p Piece) (bool, error) {
	if err := blockdev.CheckRange(p.Off, p.Len, s.size); err != nil {
		return false, err
	}
	c := p.checker()
	rest := p.Off
	if p.Off < s.headLen {
		head, err := s.currentHead()
		if err != nil {
			return false, nil
		}
		rest = min(p.Off+p.Len, s.headLen)
		_ = c.add(head[p.Off:rest]) // done says it again
	}
	err := s.read(rest, p.Off+p.Len, func(_ int64, b []byte) error { return c.add(b) })
	if err != nil || c.done() != nil {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have[p.Off], s.found[p.Off] = p.Len, true
	return true, nil
}

// currentHead is the slot's first MiB: what is to be written there, or what
// lies there as long as nothing has been written.
func (s *SlotWriter) currentHead() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return bytes.Clone(s.head), nil
	}
	head := blockdev.AlignedBuffer(int(s.headLen))
	if _, err := s.dev.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("reading the first MiB of the slot: %w", err)
	}
	return head, nil
}

// read calls visit for the bytes [from, to) of the slot, piece by piece.
func (s *SlotWriter) read(from, to int64, visit func(at int64, b []byte) error) error {
	bufs := s.buffers.Get().(*[2][]byte)
	defer s.buffers.Put(bufs)
	for at := from; at < to; {
		b, err := s.part(bufs[0], at, to)
		if err != nil {
			return err
		}
		if err := visit(at, b); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}

// part reads as much of the bytes [at, to) of the slot as buf holds; nothing
// at their end and beyond.
func (s *SlotWriter) part(buf []byte, at, to int64) ([]byte, error) {
	b := buf[:max(0, min(int64(len(buf)), to-at))]
	if _, err := s.dev.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("reading bytes [%d, %d) of the slot: %w", at, at+int64(len(b)), err)
	}
	return b, nil
}

// Finish makes everything durable and then gives the slot its first MiB. It
// fails when a part of the image is missing.
func (s *SlotWriter) Finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	if err := s.complete(); err != nil {
		return err
	}
	// A cut before this Sync returns leaves the first MiB zeros. When nothing
	// was written, an earlier run may have died right before its own last Sync.
	if err := s.dev.Sync(); err != nil {
		return s.fail(err)
	}
	if !s.begun {
		return nil
	}
	if _, err := s.dev.WriteAt(s.head, 0); err != nil {
		return s.fail(fmt.Errorf("writing the first MiB of the slot: %w", err))
	}
	s.written.Add(s.headLen)
	// COMMIT POINT of the slot's content: a cut before this Sync leaves all or
	// a part of the first MiB missing, after it the image is complete.
	if err := s.dev.Sync(); err != nil {
		return s.fail(fmt.Errorf("writing the first MiB of the slot: %w", err))
	}
	return nil
}

// complete checks that every byte of the image was written or found.
func (s *SlotWriter) complete() error {
	for at := int64(0); at < s.size; {
		n, ok := s.have[at]
		if !ok || n == 0 {
			return fmt.Errorf("internal error: finishing a slot without the image bytes at %d", at)
		}
		at += n
	}
	return nil
}
