package bootctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// Store is the open boot state of one disk. It keeps nothing in memory but
// the addresses: what its methods return was on the disk a moment ago.
//
// A Store is not for concurrent use; the caller holds the lock that keeps
// other processes out.
type Store struct {
	dev blockdev.Device
	header
}

// Layout returns the address table.
func (st *Store) Layout() Layout { return st.layout }

// Open reads the state file at byte stateOff of the disk. It writes nothing.
func Open(dev blockdev.Device, stateOff int64) (*Store, error) {
	var errs []error
	for n := range uint32(headerCopies) {
		h, err := readHeader(dev, stateOff, n)
		if err == nil {
			return &Store{dev, *h}, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%w: no state file at byte %d: %w", ErrBootState, stateOff, errors.Join(errs...))
}

// readHeader reads copy n of the header of the state file at byte stateOff.
func readHeader(dev blockdev.Device, stateOff int64, n uint32) (*header, error) {
	b, err := readFull(dev, stateOff+int64(n)*headerSize, headerSize)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(b, n, dev.Size())
	if err != nil {
		return nil, fmt.Errorf("header copy %d: %w", n, err)
	}
	// A disk image that lies in a file on this disk has headers too, but they
	// name another place.
	if h.layout.State.Off != stateOff {
		return nil, fmt.Errorf("header copy %d belongs to a state file at byte %d", n, h.layout.State.Off)
	}
	return h, nil
}

// Find looks through the whole disk for a state file and returns its place in
// bytes. It is for a disk whose boot told nothing (ab.state=).
func Find(dev blockdev.Device) (int64, error) {
	buf := blockdev.AlignedBuffer(1 << 20)
	var unreadable error
	for off := int64(0); off+headerSize <= dev.Size(); off += int64(len(buf)) {
		chunk := buf[:min(int64(len(buf)), (dev.Size()-off)/headerSize*headerSize)]
		if _, err := readAt(dev, chunk, off); err != nil {
			// A bad spot elsewhere on the disk must not hide the state file.
			unreadable = err
			continue
		}
		for at := int64(0); at < int64(len(chunk)); at += headerSize {
			if !bytes.HasPrefix(chunk[at:], []byte(headerMagic)) {
				continue
			}
			for n := range int64(headerCopies) {
				stateOff := off + at - n*headerSize
				if _, err := readHeader(dev, stateOff, uint32(n)); err == nil {
					return stateOff, nil
				}
			}
		}
	}
	if unreadable != nil {
		return 0, fmt.Errorf("%w: no state file was found, and not all of the disk can be read: %w", ErrBootState, unreadable)
	}
	return 0, fmt.Errorf("%w: this disk has no state file", ErrBootState)
}

// Format fills the preallocated files of a new disk: the boot state s in both
// copies, no valid args block, empty records. The disk must not be in use for
// booting yet. When Format returns nil, all is durable.
func Format(dev blockdev.Device, l Layout, s State) error {
	if s.Seq == 0 {
		s.Seq = 1
	}
	if err := errors.Join(l.Validate(dev.Size()), s.Validate()); err != nil {
		return fmt.Errorf("%w: setting up: %w", ErrBootState, err)
	}
	st := &Store{dev, header{layout: l, areas: newAreas()}}
	if err := st.format(s); err != nil {
		return fmt.Errorf("%w: setting up: %w", ErrBootState, err)
	}
	return nil
}

func (st *Store) format(s State) error {
	for _, e := range st.layout.Args {
		block := make([]byte, ArgsSize)
		copy(block, invalidSector())
		if err := st.write(block, e.Off); err != nil {
			return err
		}
	}
	for _, a := range st.areas {
		// One valid copy from the start: afterwards two invalid ones always
		// mean damage, and never "not written yet".
		if err := st.write(record{id: a.id, seq: 1}.encode(), st.recordOff(a, 0)); err != nil {
			return err
		}
		if err := st.write(make([]byte, blockSize), st.recordOff(a, 1)); err != nil {
			return err
		}
	}
	for _, e := range st.layout.Env {
		if err := st.write(s.Encode(), e.Off); err != nil {
			return err
		}
	}
	// A cut before this Sync leaves no state file, or one that nobody is told
	// of: the disk has to be set up again.
	if err := st.dev.Sync(); err != nil {
		return err
	}
	return st.writeHeaders()
}

// writeHeaders writes both copies of the header, one after the other, so that
// a cut leaves at least one.
func (st *Store) writeHeaders() error {
	for n := range uint32(headerCopies) {
		if err := st.writeSynced(st.encode(n), st.layout.State.Off+int64(n)*headerSize); err != nil {
			return fmt.Errorf("header copy %d of the state file: %w", n, err)
		}
	}
	return nil
}

// write writes b at byte off, without making it durable.
func (st *Store) write(b []byte, off int64) error {
	_, err := st.dev.WriteAt(b, off)
	return err
}

// writeSynced writes b at byte off, makes it durable and reads it back. A
// disk that reports success for a lost write must not get as far as an
// acknowledgement.
func (st *Store) writeSynced(b []byte, off int64) error {
	if err := st.write(b, off); err != nil {
		return err
	}
	if err := st.dev.Sync(); err != nil {
		return err
	}
	got, err := readFull(st.dev, off, int64(len(b)))
	if err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	if !bytes.Equal(got, b) {
		return fmt.Errorf("reading back [%d, %d): the disk does not hold what was written", off, off+int64(len(b)))
	}
	return nil
}

// readFull reads n bytes at byte off. The buffer is aligned so that the read
// goes to the disk and not to the page cache.
func readFull(dev blockdev.Device, off, n int64) ([]byte, error) {
	if err := blockdev.CheckRange(off, n, dev.Size()); err != nil {
		return nil, err
	}
	return readAt(dev, blockdev.AlignedBuffer(int(n)), off)
}

func readAt(dev blockdev.Device, b []byte, off int64) ([]byte, error) {
	// A Device may return io.EOF with the last bytes, as io.ReaderAt allows.
	if n, err := dev.ReadAt(b, off); err != nil && (n < len(b) || !errors.Is(err, io.EOF)) {
		return nil, fmt.Errorf("reading bytes [%d, %d): %w", off, off+int64(len(b)), err)
	}
	return b, nil
}
