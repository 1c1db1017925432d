package blockdevtest

import "fmt"

// Fault is a planned failure of a disk.
type Fault struct {
	// At is the index of the operation that fails, from 0.
	At int
	// Err is what it fails with; nil is no fault.
	Err error
	// Sticky: all later operations fail too.
	Sticky bool
	// Short: a failing write has written the first half of its sectors, and a
	// failing Sync has lost what it was asked for: the disk is back at the Sync
	// before. Without it, a failed operation changes nothing.
	Short bool
	// Only restricts the fault to some operations; nil is all.
	Only func(Op) bool
}

// Inject plans a fault.
func (d *Disk) Inject(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// Fail makes the operation with index n (from 0) fail with err; sticky makes
// all later ones fail too. A failed operation changes nothing.
func (d *Disk) Fail(n int, err error, sticky bool) {
	d.Inject(Fault{At: n, Err: err, Sticky: sticky})
}

func (f Fault) strikes(n int, o Op) bool {
	return f.Err != nil && (n == f.At || f.Sticky && n > f.At) && (f.Only == nil || f.Only(o))
}

// fail fails one operation; the caller holds the lock.
func (d *Disk) fail(o Op) (written int64, err error) {
	if d.fault.Short {
		written = o.Len / int64(d.sector) / 2 * int64(d.sector)
		switch {
		case o.Sync:
			// A drive that fails to flush may have lost what it held.
			d.now = d.durable
			d.log = d.log[:d.lastSync()]
		case written > 0:
			d.record(o.part(0, written))
		}
	}
	return written, fmt.Errorf("%v: %w", o, d.fault.Err)
}

// lastSync returns the length of the log up to the last Sync in it.
func (d *Disk) lastSync() int {
	for n := len(d.log); n > 0; n-- {
		if d.log[n-1].Sync {
			return n
		}
	}
	return 0
}
