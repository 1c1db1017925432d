package blockdev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directAlign is the alignment of buffer, offset and length that every
// O_DIRECT implementation accepts (4 KiB covers 512e disks and ext4/xfs).
const directAlign = 4096

// Options says how to open a device.
type Options struct {
	// Write opens for writing too.
	Write bool
	// Exclusive claims a block device (O_EXCL): it fails with EBUSY while the
	// device or a filesystem on it is in use.
	Exclusive bool
}

// File is a Device over a block device node or a regular file. Whole-sector
// access goes past the page cache (O_DIRECT) where the file supports it, so
// a read-back reads the disk and not our own memory.
type File struct {
	f      *os.File // buffered: unaligned reads, and all access when direct is nil
	direct *os.File
	size   int64
	block  bool
	path   string
}

// Open opens the block device or regular file at path. It fails on anything
// else, and on a disk whose logical sector is not 512 bytes.
func Open(path string, o Options) (*File, error) {
	flags := os.O_RDONLY
	if o.Write {
		flags = os.O_RDWR
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	isBlock := st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0
	if !isBlock && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: neither a block device nor a regular file", path)
	}
	openFlags := flags
	if o.Exclusive && isBlock {
		openFlags |= unix.O_EXCL
	}
	f, err := os.OpenFile(path, openFlags, 0)
	if err != nil {
		return nil, err
	}
	d := &File{f: f, block: isBlock, path: path}
	if d.size, err = f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	if isBlock {
		ss, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: reading the sector size: %w", path, err)
		}
		if ss != SectorSize {
			f.Close()
			return nil, fmt.Errorf("%s: logical sectors of %d bytes are not supported, only %d", path, ss, SectorSize)
		}
	}
	// A filesystem without O_DIRECT (tmpfs before Linux 6.6) answers EINVAL:
	// then the page cache is all there is.
	d.direct, err = os.OpenFile(path, flags|unix.O_DIRECT, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		f.Close()
		return nil, err
	}
	if d.direct != nil && !isBlock && d.size%directAlign != 0 {
		d.direct.Close()
		d.direct = nil
	}
	return d, nil
}

// Path is the path that Open was given.
func (d *File) Path() string { return d.path }

// Size implements Device.
func (d *File) Size() int64 { return d.size }

// SectorSize implements Device.
func (d *File) SectorSize() int { return SectorSize }

// ReadAt implements Device. Sector-aligned reads bypass the page cache.
func (d *File) ReadAt(p []byte, off int64) (int, error) {
	if d.direct == nil || !d.alignedRange(p, off) {
		return d.f.ReadAt(p, off)
	}
	if alignedMemory(p) {
		return d.direct.ReadAt(p, off)
	}
	buf := AlignedBuffer(len(p))
	n, err := d.direct.ReadAt(buf, off)
	return copy(p, buf[:n]), err
}

// WriteAt implements Device. Sector-aligned writes bypass the page cache.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckRange(off, int64(len(p)), d.size); err != nil {
		return 0, fmt.Errorf("%s: %w", d.path, err)
	}
	if d.direct == nil || !d.alignedRange(p, off) {
		return d.f.WriteAt(p, off)
	}
	if alignedMemory(p) {
		return d.direct.WriteAt(p, off)
	}
	buf := AlignedBuffer(len(p))
	copy(buf, p)
	return d.direct.WriteAt(buf, off)
}

// scattered is for Scatter.
func (d *File) scattered() Scattered { return cached{d.f} }

// cached is a file through the page cache.
type cached struct{ f *os.File }

func (c cached) ReadAt(p []byte, off int64) (int, error) { return c.f.ReadAt(p, off) }

// Expect is only a hint: what goes wrong shows when the bytes are read.
func (c cached) Expect(off, n int64) { _ = unix.Fadvise(int(c.f.Fd()), off, n, unix.FADV_WILLNEED) }

// alignedRange reports whether O_DIRECT takes this range: whole sectors on a
// block device, whole filesystem blocks on a regular file.
func (d *File) alignedRange(p []byte, off int64) bool {
	unit := int64(SectorSize)
	if !d.block {
		unit = directAlign
	}
	return off%unit == 0 && int64(len(p))%unit == 0 && len(p) > 0
}

// Sync implements Device by fsync, which flushes the disk's cache too.
func (d *File) Sync() error { return d.f.Sync() }

// ZeroRange implements Zeroer: BLKZEROOUT on a block device (Linux 3.7),
// which the kernel turns into WRITE SAME or WRITE ZEROES or plain writes;
// FALLOC_FL_PUNCH_HOLE on a regular file. Where neither works, zeros are
// written.
func (d *File) ZeroRange(off, length int64) error {
	if err := CheckRange(off, length, d.size); err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	if length == 0 {
		return nil
	}
	if d.block && off%SectorSize == 0 && length%SectorSize == 0 {
		rng := [2]uint64{uint64(off), uint64(length)}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&rng)))
		if errno == 0 {
			return nil
		}
		if errno == unix.EIO || errno == unix.EBADF || errno == unix.EROFS {
			return fmt.Errorf("%s: zeroing bytes [%d, %d): %w", d.path, off, off+length, errno)
		}
	} else if !d.block {
		err := unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
		if err == nil {
			return nil
		}
	}
	return writeZeros(d, off, length)
}

// Close closes the device. It does not Sync.
func (d *File) Close() error {
	err := d.f.Close()
	if d.direct != nil {
		err = errors.Join(err, d.direct.Close())
	}
	return err
}

func alignedMemory(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%directAlign == 0
}

// AlignedBuffer returns n zero bytes at an address that O_DIRECT accepts.
func AlignedBuffer(n int) []byte { return AlignedBuffers(1, n)[0] }

// hugePage is the size of the pages that the kernel may give large buffers.
const hugePage = 2 << 20

// AlignedBuffers returns count buffers like AlignedBuffer, side by side. The
// kernel is asked for huge pages inside of them, if they are long enough: a
// decoder copies from all over its frame, and a disk that transfers to and from
// memory directly has every page looked up.
func AlignedBuffers(count, n int) [][]byte {
	stride := (n + directAlign - 1) / directAlign * directAlign
	all := make([]byte, count*stride+directAlign)
	if rest := int(uintptr(unsafe.Pointer(unsafe.SliceData(all))) % directAlign); rest != 0 {
		all = all[directAlign-rest:]
	}
	if all = all[:count*stride]; len(all) >= hugePage {
		_ = unix.Madvise(all, unix.MADV_HUGEPAGE) // where the kernel has none, small ones do
	}
	buffers := make([][]byte, count)
	for i := range buffers {
		buffers[i] = all[i*stride:][:n:n]
	}
	return buffers
}
