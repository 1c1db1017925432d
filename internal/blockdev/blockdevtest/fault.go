package blockdevtest

import (
	"fmt"
	"io"
	"maps"

	"golang.org/x/sys/unix"
)

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

// Faults are the ways in which a disk fails, by name: once, and from then on.
// At is for whoever goes through all operations.
func Faults() map[string]Fault {
	once := map[string]Fault{
		"EIO":         {Err: unix.EIO},
		"ENOSPC":      {Err: unix.ENOSPC, Short: true},
		"EROFS":       {Err: unix.EROFS},
		"short write": {Err: io.ErrShortWrite, Short: true},
		"lost flush":  {Err: unix.EIO, Short: true, Only: func(o Op) bool { return o.Sync }},
	}
	all := maps.Clone(once)
	for name, f := range once {
		f.Sticky = true
		all[name+", from then on"] = f
	}
	return all
}

// QuickFaults are two of them, for a quick look at work that takes long: a
// process that dies, and a flush that is lost.
func QuickFaults() map[string]Fault {
	all := Faults()
	if Scale() == 1 {
		maps.DeleteFunc(all, func(name string, _ Fault) bool { return name != "EIO, from then on" && name != "lost flush" })
	}
	return all
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
