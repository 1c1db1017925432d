// Package blockdevtest holds a disk that loses power.
//
// Disk is a blockdev.Device with a volatile write cache over durable
// sectors. EachCrash runs code once on it, records every write and Sync, and
// then hands out the disk as it may look after a power cut at each of them.
//
// Invariant: only a Sync makes writes durable, and between two Syncs they
// may land in any order, in part, or not at all; a sector is never torn, unless
// SetPhysicalSector says that it is only a part of a larger one.
package blockdevtest

import (
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/abupdate/abupdate/internal/blockdev"
)

const pageSize = 4096

type page [pageSize]byte

// image is sparse content: pages that are not there are zeros. Pages are
// shared between images and never changed in place.
type image map[int64]*page

func (m image) readAt(p []byte, off int64) {
	for len(p) > 0 {
		in := off % pageSize
		n := min(int64(len(p)), pageSize-in)
		if pg := m[off/pageSize]; pg != nil {
			copy(p[:n], pg[in:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

func (m image) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		in := off % pageSize
		n := min(int64(len(p)), pageSize-in)
		pg := new(page)
		if old := m[off/pageSize]; old != nil {
			*pg = *old
		}
		copy(pg[in:], p[:n])
		m[off/pageSize] = pg
		p, off = p[n:], off+n
	}
}

func (m image) zero(off, length int64) {
	for length > 0 {
		in := off % pageSize
		n := min(length, pageSize-in)
		if n == pageSize {
			delete(m, off/pageSize)
		} else if m[off/pageSize] != nil {
			m.writeAt(make([]byte, n), off)
		}
		off, length = off+n, length-n
	}
}

// Op is one recorded operation: a Sync, a zeroed range (Data nil), or a write.
type Op struct {
	Sync bool
	Off  int64
	Len  int64
	Data []byte
}

// String says what the operation was, for the report of a violation.
func (o Op) String() string {
	switch {
	case o.Sync:
		return "sync"
	case o.Data == nil:
		return fmt.Sprintf("zero [%d, %d)", o.Off, o.Off+o.Len)
	}
	return fmt.Sprintf("write [%d, %d)", o.Off, o.Off+o.Len)
}

func (o Op) apply(m image) {
	switch {
	case o.Sync:
	case o.Data == nil:
		m.zero(o.Off, o.Len)
	default:
		m.writeAt(o.Data, o.Off)
	}
}

// part returns the operation cut down to the bytes [from, to) of it.
func (o Op) part(from, to int64) Op {
	p := Op{Off: o.Off + from, Len: to - from}
	if o.Data != nil {
		p.Data = o.Data[from:to]
	}
	return p
}

// Disk is a crash-simulating disk. It is safe for concurrent use.
type Disk struct {
	mu       sync.Mutex
	now      image // what a read sees
	log      []Op
	size     int64
	sector   int
	physical int

	failAt int // index of the operation that fails; -1: none
	failBy error
	sticky bool
	ops    int // operations so far, recorded or failed
}

// New returns a disk of size zero bytes with sectors of sectorSize bytes.
func New(size int64, sectorSize int) *Disk {
	return &Disk{now: image{}, size: size, sector: sectorSize, physical: sectorSize, failAt: -1}
}

// SetPhysicalSector gives the disk physical sectors of n bytes, like the 4096
// of a 512e disk: EachCrash then also damages what shares one with a write.
func (d *Disk) SetPhysicalSector(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.physical = n
}

// with returns a disk like d with other content, an empty log and no fault.
func (d *Disk) with(now image) *Disk {
	return &Disk{now: now, size: d.size, sector: d.sector, physical: d.physical, failAt: -1}
}

// Clone returns an independent disk with the same content, an empty log and
// no fault planned.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.with(maps.Clone(d.now))
}

// Log returns the operations since New or Clone.
func (d *Disk) Log() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log
}

// Ops returns how many operations (writes, zeroings, Syncs) were asked for.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Fail makes the operation with index n (from 0) fail with err; sticky makes
// all later ones fail too. A failed operation changes nothing.
func (d *Disk) Fail(n int, err error, sticky bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt, d.failBy, d.sticky = n, err, sticky
}

// do records and applies one operation, or fails it as planned.
func (d *Disk) do(o Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.ops
	d.ops++
	if d.failAt >= 0 && (n == d.failAt || d.sticky && n > d.failAt) {
		return fmt.Errorf("%v: %w", o, d.failBy)
	}
	d.log = append(d.log, o)
	o.apply(d.now)
	return nil
}

// ReadAt implements blockdev.Device.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, blockdev.ErrOutOfRange
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if off >= d.size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), d.size-off)
	d.now.readAt(p[:n], off)
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteAt implements blockdev.Device.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	data := append(make([]byte, 0, len(p)), p...)
	if err := d.do(Op{Off: off, Len: int64(len(p)), Data: data}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ZeroRange implements blockdev.Zeroer.
func (d *Disk) ZeroRange(off, length int64) error {
	if err := blockdev.CheckRange(off, length, d.size); err != nil {
		return err
	}
	return d.do(Op{Off: off, Len: length})
}

// Sync implements blockdev.Device.
func (d *Disk) Sync() error { return d.do(Op{Sync: true}) }

// Size implements blockdev.Device.
func (d *Disk) Size() int64 { return d.size }

// SectorSize implements blockdev.Device.
func (d *Disk) SectorSize() int { return d.sector }
