package bootctl

import (
	"errors"
	"fmt"
)

// Record returns a record; it is empty when it was never written.
func (st *Store) Record(id RecordID) ([]byte, error) {
	a, err := st.place(id)
	if err != nil {
		return nil, err
	}
	newest, _, err := st.newest(a)
	if err != nil {
		return nil, err
	}
	return newest.data, nil
}

// SetRecord replaces a record. Once it returns nil the new one is durable; on
// an error, or after a cut, the old one or the new one is there.
func (st *Store) SetRecord(id RecordID, data []byte) error {
	a, err := st.place(id)
	if err != nil {
		return err
	}
	if len(data) > a.capacity {
		return fmt.Errorf("%w: record %v of %d bytes does not fit into the %d of this disk", ErrBootState, id, len(data), a.capacity)
	}
	newest, at, err := st.newest(a)
	if err != nil {
		// Nothing readable is left to protect. Both copies are written, or one
		// that could only not be read just now would win over the new one.
		return errors.Join(
			st.writeRecord(a, 0, record{id: id, seq: 1, data: data}),
			st.writeRecord(a, 1, record{id: id, seq: 2, data: data}))
	}
	return st.writeRecord(a, 1-at, record{id: id, seq: newest.seq + 1, data: data})
}

// writeRecord writes copy number at of a record.
func (st *Store) writeRecord(a area, at int, r record) error {
	// COMMIT POINT: after this Sync the higher sequence number wins. A cut
	// before it leaves a copy whose checksum is wrong, and the other one wins.
	if err := st.writeSynced(r.encode(), st.recordOff(a, at)); err != nil {
		return fmt.Errorf("%w: writing record %v: %w", ErrBootState, r.id, err)
	}
	return nil
}

// recordOff returns where copy number at of a record lies on the disk.
func (st *Store) recordOff(a area, at int) int64 {
	return st.layout.State.Off + a.off + int64(at)*a.size
}

func (st *Store) place(id RecordID) (area, error) {
	a, ok := st.area(id)
	if !ok {
		return area{}, fmt.Errorf("%w: the state file of this disk has no place for record %v", ErrBootState, id)
	}
	return a, nil
}

// newest returns the newest valid copy of a record and which of the two it is.
func (st *Store) newest(a area) (best record, at int, err error) {
	at = -1
	var errs []error
	for i := range recordCopies {
		r, err := st.readRecord(a, st.recordOff(a, i))
		if err != nil {
			errs = append(errs, fmt.Errorf("copy %d: %w", i, err))
			continue
		}
		if at < 0 || r.seq > best.seq {
			best, at = r, i
		}
	}
	if at < 0 {
		return record{}, 0, fmt.Errorf("%w: both copies of record %v are broken: %w", ErrBootState, a.id, errors.Join(errs...))
	}
	return best, at, nil
}

func (st *Store) readRecord(a area, off int64) (record, error) {
	first, err := readFull(st.dev, off, blockSize)
	if err != nil {
		return record{}, err
	}
	n, err := recordLen(first, a.capacity)
	if err != nil {
		return record{}, err
	}
	b, err := readFull(st.dev, off, n)
	if err != nil {
		return record{}, err
	}
	return parseRecord(b, a.id, a.capacity)
}
