// Package blockdev is the one seam between abupdate and disks.
//
// Everything that touches a disk takes a Device, so the same code runs on a
// real disk, on a disk image file without root, and on the crash-simulating
// disk of package blockdevtest. Start with Open.
//
// Invariant: WriteAt gives no durability and no order; only a Sync that
// returned nil makes every write before it durable.
package blockdev

import (
	"errors"
	"fmt"
	"io"
)

// SectorSize is the logical sector, in bytes, that abupdate supports. 512e
// disks have it too; 4Kn disks are refused (DESIGN: boot code and GRUB's env
// block count in 512-byte sectors).
const SectorSize = 512

// Device is a disk, a partition or an image of one.
//
// ReadAt and WriteAt take byte offsets and may be called from several
// goroutines at once. A WriteAt outside [0, Size) fails and writes nothing.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns once all completed writes are on stable storage.
	Sync() error
	// Size is the length in bytes.
	Size() int64
	// SectorSize is the logical sector in bytes: the unit that is never torn.
	SectorSize() int
}

// Zeroer is implemented by devices that can zero a range faster than by
// writing it. The range reads as zeros afterwards; like WriteAt it is durable
// only after Sync. It must never be a bare discard: what a discarded range
// reads as is up to the disk.
type Zeroer interface {
	ZeroRange(off, length int64) error
}

// ErrOutOfRange is returned for access outside of a device.
var ErrOutOfRange = errors.New("outside of the device")

// CheckRange returns an error unless [off, off+n) lies within [0, size).
func CheckRange(off, n, size int64) error {
	if off < 0 || n < 0 || n > size || off > size-n {
		return fmt.Errorf("bytes [%d, %d) of %d: %w", off, off+n, size, ErrOutOfRange)
	}
	return nil
}

// Zero makes [off, off+length) of dev read as zeros, by Zeroer where dev has
// it and by writing zeros where it has not.
func Zero(dev Device, off, length int64) error {
	if err := CheckRange(off, length, dev.Size()); err != nil {
		return err
	}
	if z, ok := dev.(Zeroer); ok {
		return z.ZeroRange(off, length)
	}
	return writeZeros(dev, off, length)
}

func writeZeros(w io.WriterAt, off, length int64) error {
	buf := AlignedBuffer(int(min(length, 1<<20)))
	for length > 0 {
		n := min(length, int64(len(buf)))
		if _, err := w.WriteAt(buf[:n], off); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

// section is the window [off, off+size) of a device.
type section struct {
	dev       Device
	off, size int64
}

// Section returns the window [off, off+size) of dev, such as a partition of
// a disk. Its Sync is that of dev.
func Section(dev Device, off, size int64) (Device, error) {
	if err := CheckRange(off, size, dev.Size()); err != nil {
		return nil, err
	}
	return &section{dev, off, size}, nil
}

func (s *section) ReadAt(p []byte, off int64) (int, error) { return s.readAt(s.dev, p, off) }

// readAt reads from a reader of the whole device.
func (s *section) readAt(all io.ReaderAt, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, ErrOutOfRange
	}
	if off >= s.size {
		return 0, io.EOF
	}
	if rest := s.size - off; int64(len(p)) > rest {
		n, err := all.ReadAt(p[:rest], s.off+off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return all.ReadAt(p, s.off+off)
}

func (s *section) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckRange(off, int64(len(p)), s.size); err != nil {
		return 0, err
	}
	return s.dev.WriteAt(p, s.off+off)
}

func (s *section) ZeroRange(off, length int64) error {
	if err := CheckRange(off, length, s.size); err != nil {
		return err
	}
	return Zero(s.dev, s.off+off, length)
}

func (s *section) Sync() error     { return s.dev.Sync() }
func (s *section) Size() int64     { return s.size }
func (s *section) SectorSize() int { return s.dev.SectorSize() }
