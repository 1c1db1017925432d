// Package blockdevtest holds a disk that loses power.
//
// Disk is a blockdev.Device with a volatile write cache over durable
// sectors. EachCrash runs code once on it, records every write and Sync, and
// then hands out the disk as it may look after a power cut at each of them.
// Campaign does the same, cuts again in the recovery, and counts.
//
// Invariant: only a Sync makes writes durable, and between two Syncs they
// may land in any order, in part, or not at all; a sector is never torn, unless
// SetPhysicalSector says that it is only a part of a larger one.
package blockdevtest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// Disk is a crash-simulating disk. It is safe for concurrent use.
type Disk struct {
	mu       sync.Mutex
	now      image // what a read sees
	durable  image // what the last Sync left
	log      []Op
	acks     []int // len(log) at each Acknowledge
	size     int64
	sector   int
	physical int
	zeroed   bool // see LargeWritesAreZeros

	fault Fault
	ops   int // operations so far, recorded or failed
}

// New returns a disk of size zero bytes with sectors of sectorSize bytes.
func New(size int64, sectorSize int) *Disk {
	m := newImage(size)
	return &Disk{now: m, durable: m, size: size, sector: sectorSize, physical: sectorSize}
}

// SetPhysicalSector gives the disk physical sectors of n bytes, like the 4096
// of a 512e disk: EachCrash then also damages what shares one with a write.
func (d *Disk) SetPhysicalSector(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.physical = n
}

// with returns a disk like d with other content, all of it durable, an empty
// log and no fault.
func (d *Disk) with(content image) *Disk {
	return &Disk{now: content, durable: content, size: d.size, sector: d.sector, physical: d.physical, zeroed: d.zeroed}
}

// LargeWritesAreZeros says that the large writes to come fill with zeros what
// nobody reads before the end: below a long run they are torn at a few places
// only, as one half of them is as good as another.
func (d *Disk) LargeWritesAreZeros() { d.zeroed = true }

// Clone returns an independent disk with the same content, an empty log and
// no fault planned.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.with(d.now)
}

// Same reports whether two disks hold the same bytes.
func (d *Disk) Same(other *Disk) bool {
	return d.Clone().now.fingerprint() == other.Clone().now.fingerprint()
}

// SameIn reports whether two disks hold the same bytes in a range, which can be
// read on both. It costs what differs, and not what the range holds: a judge
// asks it of every crash.
func (d *Disk) SameIn(other *Disk, off, length int64) bool {
	a, b := d.Clone().now, other.Clone().now
	if a.fails(off, length) || b.fails(off, length) {
		return false
	}
	var pageA, pageB page
	for end := off + length; off < end; {
		n := min(pageSize-off%pageSize, end-off)
		if a.at(off/pageSize) != b.at(off/pageSize) {
			a.read(pageA[:n], off)
			b.read(pageB[:n], off)
			if !bytes.Equal(pageA[:n], pageB[:n]) {
				return false
			}
		}
		off += n
	}
	return true
}

// Log returns the operations since New or Clone.
func (d *Disk) Log() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.log)
}

// Ops returns how many operations (writes, zeroings, Syncs) were asked for.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Acknowledge marks the place where code that goes on after it has promised
// something: Crash.Acknowledged counts the marks before a cut.
func (d *Disk) Acknowledge() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acks = append(d.acks, len(d.log))
}

// do records and applies one operation, or fails it as planned.
func (d *Disk) do(o Op) (written int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.ops
	d.ops++
	if d.fault.strikes(n, o) {
		return d.fail(o)
	}
	d.record(o)
	return o.Len, nil
}

func (d *Disk) record(o Op) {
	d.log = append(d.log, o)
	d.now = o.apply(d.now)
	if o.Sync {
		d.durable = d.now
	}
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
	if d.now.fails(off, n) {
		return 0, fmt.Errorf("read [%d, %d): %w", off, off+n, unix.EIO)
	}
	d.now.read(p[:n], off)
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
	n, err := d.do(Op{Off: off, Len: int64(len(p)), Data: append(make([]byte, 0, len(p)), p...)})
	return int(n), err
}

// ZeroRange implements blockdev.Zeroer.
func (d *Disk) ZeroRange(off, length int64) error {
	if err := blockdev.CheckRange(off, length, d.size); err != nil {
		return err
	}
	_, err := d.do(Op{Off: off, Len: length})
	return err
}

// Discard tells the disk that a range is not needed. It then reads as garbage.
func (d *Disk) Discard(off, length int64) error {
	if err := blockdev.CheckRange(off, length, d.size); err != nil {
		return err
	}
	_, err := d.do(Op{Discard: true, Off: off, Len: length})
	return err
}

// Sync implements blockdev.Device.
func (d *Disk) Sync() error {
	_, err := d.do(Op{Sync: true})
	return err
}

// Size implements blockdev.Device.
func (d *Disk) Size() int64 { return d.size }

// SectorSize implements blockdev.Device.
func (d *Disk) SectorSize() int { return d.sector }
