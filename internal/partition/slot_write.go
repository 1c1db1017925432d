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
	if err := blockdev.CheckRange(off, n, s.size); err != nil {
		return err
	}
	s.mu.Lock()
	err := s.begin()
	inHead := max(0, min(n, s.headLen-off))
	if err == nil {
		copy(s.head[min(off, s.headLen):], data[:inHead])
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.writeRest(off+inHead, data[inHead:], inHead > 0); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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

// write writes data, with long runs of zeros by blockdev.Zero. A discard
// alone would not do: what such blocks read as afterwards is up to the disk.
func (s *SlotWriter) write(at int64, data []byte) error {
	for len(data) > 0 {
		n, zero := run(data)
		var err error
		if zero {
			err = blockdev.Zero(s.dev, at, int64(n))
		} else {
			_, err = s.dev.WriteAt(data[:n], at)
		}
		if err != nil {
			return fmt.Errorf("writing bytes [%d, %d) of the slot: %w", at, at+int64(n), err)
		}
		s.written.Add(int64(n))
		at, data = at+int64(n), data[n:]
	}
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
