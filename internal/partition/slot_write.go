package partition

import (
	"bytes"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// WriteFrame writes the image bytes that start at off. What belongs to the
// first MiB is held back until Finish. Data from blockdev.AlignedBuffer is
// written without another copy.
func (s *SlotWriter) WriteFrame(off int64, data []byte) error {
	n := int64(len(data))
	inHead, err := s.writeHead(off, n, func(head []byte) { copy(head, data) })
	if err != nil {
		return err
	}
	return s.wrote(off, n, s.writeRest(off+inHead, data[inHead:], inHead > 0))
}

// WriteZeros is WriteFrame of n zeros.
func (s *SlotWriter) WriteZeros(off, n int64) error {
	inHead, err := s.writeHead(off, n, func(head []byte) { clear(head) })
	if err != nil {
		return err
	}
	return s.wrote(off, n, s.zero(off+inHead, n-inHead))
}

// writeHead has fill put what belongs to the first MiB into it, and returns
// how much of [off, off+n) that is.
func (s *SlotWriter) writeHead(off, n int64, fill func(head []byte)) (inHead int64, err error) {
	if err := blockdev.CheckRange(off, n, s.size); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return 0, err
	}
	inHead = max(0, min(n, s.headLen-off))
	fill(s.head[min(off, s.headLen):][:inHead])
	return inHead, nil
}

// wrote keeps the account of a piece that was written, or the error.
func (s *SlotWriter) wrote(off, n int64, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	s.have[off] = n
	return nil
}

// writeRest writes what lies behind the first MiB. The frame across its end
// is never found by Holds after an interruption, because its first part is
// zeros: compare the second part here, so that it is not written again.
func (s *SlotWriter) writeRest(at int64, data []byte, compare bool) error {
	if compare {
		same := true
		err := s.read(at, at+int64(len(data)), func(pos int64, b []byte) error {
			same = same && bytes.Equal(b, data[pos-at:][:len(b)])
			return nil
		})
		if err == nil && same {
			return nil
		}
	}
	return s.write(at, data)
}

// zeroRun is the shortest run of zeros that is not simply written.
const zeroRun = 64 << 10

// write writes data, with long runs of zeros by blockdev.Zero.
func (s *SlotWriter) write(at int64, data []byte) error {
	for len(data) > 0 {
		n, zero := run(data)
		if zero {
			if err := s.zero(at, int64(n)); err != nil {
				return err
			}
		} else {
			if _, err := s.dev.WriteAt(data[:n], at); err != nil {
				return fmt.Errorf("writing bytes [%d, %d) of the slot: %w", at, at+int64(n), err)
			}
			s.written.Add(int64(n))
		}
		at, data = at+int64(n), data[n:]
	}
	return nil
}

// zero makes a range zeros. A discard alone would not do: what such blocks
// read as afterwards is up to the disk.
func (s *SlotWriter) zero(at, n int64) error {
	if n == 0 {
		return nil
	}
	if err := blockdev.Zero(s.dev, at, n); err != nil {
		return fmt.Errorf("writing bytes [%d, %d) of the slot: %w", at, at+n, err)
	}
	s.written.Add(n)
	return nil
}

// run returns the length of the run that data starts with, in steps of
// zeroRun, and whether it is zeros.
func run(data []byte) (n int, zero bool) {
	step := func() []byte { return data[n:min(n+zeroRun, len(data))] }
	zero = isZero(step())
	for n < len(data) && isZero(step()) == zero {
		n += len(step())
	}
	return n, zero
}

var zeros [zeroRun]byte

func isZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), zeroRun)
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
