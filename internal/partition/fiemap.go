package partition

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FileExtent is one extent of a file, as its file system maps it.
type FileExtent struct {
	// Logical is its first byte in the file, Physical that on the volume
	// which the file system is on.
	Logical, Physical, Len int64
	Flags                  ExtentFlags
}

// ExtentFlags are the kernel's (include/uapi/linux/fiemap.h).
type ExtentFlags uint32

// The flags.
const (
	ExtentLast       ExtentFlags = 0x1
	ExtentUnknown    ExtentFlags = 0x2 // no address yet, or none at all
	ExtentDelalloc   ExtentFlags = 0x4
	ExtentEncoded    ExtentFlags = 0x8
	ExtentEncrypted  ExtentFlags = 0x80
	ExtentNotAligned ExtentFlags = 0x100
	ExtentInline     ExtentFlags = 0x200 // in the inode, among other metadata
	ExtentTail       ExtentFlags = 0x400
	ExtentUnwritten  ExtentFlags = 0x800 // reads as zeros, whatever lies there
	ExtentMerged     ExtentFlags = 0x1000
	ExtentShared     ExtentFlags = 0x2000 // a write would move it elsewhere
)

// harmlessExtent are the flags of an extent that lies where it says, alone
// and as it is. UNWRITTEN is a question of when. What the kernel may add in
// future is not harmless until somebody has looked at it.
const harmlessExtent = ExtentLast | ExtentMerged

var extentFlagNames = []struct {
	flag ExtentFlags
	name string
}{
	{ExtentLast, "LAST"},
	{ExtentUnknown, "UNKNOWN"},
	{ExtentDelalloc, "DELALLOC"},
	{ExtentEncoded, "ENCODED"},
	{ExtentEncrypted, "DATA_ENCRYPTED"},
	{ExtentNotAligned, "NOT_ALIGNED"},
	{ExtentInline, "DATA_INLINE"},
	{ExtentTail, "DATA_TAIL"},
	{ExtentUnwritten, "UNWRITTEN"},
	{ExtentMerged, "MERGED"},
	{ExtentShared, "SHARED"},
}

// String lists the flags by the kernel's names.
func (f ExtentFlags) String() string {
	var names []string
	for _, n := range extentFlagNames {
		if f&n.flag != 0 {
			names, f = append(names, n.name), f&^n.flag
		}
	}
	if f != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(f)))
	}
	return strings.Join(names, "|")
}

// Unwritten says whether extents may be unwritten: allocated, but with no
// content in the eyes of the file system.
type Unwritten uint8

// The two answers.
const (
	UnwrittenAllowed Unwritten = iota + 1 // right after fallocate
	UnwrittenRefused                      // when the content is to be read by disk address
)

// FileMap returns where a file lies on the volume of its file system. It
// refuses a file that has a hole, or an extent that cannot be written or read
// by its disk address.
func FileMap(f *os.File, unwritten Unwritten) (DeviceMap, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	extents, err := FileExtents(f)
	if err != nil {
		return nil, err
	}
	m, err := mapExtents(extents, st.Size(), unwritten)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return m, nil
}

// FilePieces is FileMap for a file that may have holes: those parts of it that
// have a place.
func FilePieces(f *os.File, unwritten Unwritten) (DeviceMap, error) {
	extents, err := FileExtents(f)
	if err != nil {
		return nil, err
	}
	var m DeviceMap
	for i, e := range extents {
		if err := checkExtent(i, e, unwritten); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		m = append(m, Run{Start: e.Logical, Disk: e.Physical, Len: e.Len})
	}
	return m.merge(), nil
}

// mapExtents checks the extents of a file of size bytes.
func mapExtents(extents []FileExtent, size int64, unwritten Unwritten) (DeviceMap, error) {
	var m DeviceMap
	next := int64(0)
	for i, e := range extents {
		if err := checkExtent(i, e, unwritten); err != nil {
			return nil, err
		}
		if e.Logical != next {
			return nil, fmt.Errorf("extent %d starts at byte %d of the file, not at %d: a hole", i, e.Logical, next)
		}
		next += e.Len
		m = append(m, Run{Start: e.Logical, Disk: e.Physical, Len: e.Len})
	}
	if next < size {
		return nil, fmt.Errorf("the last %d bytes of the file are a hole", size-next)
	}
	return m.merge(), nil
}

// checkExtent refuses an extent that cannot be written or read by its address.
func checkExtent(i int, e FileExtent, unwritten Unwritten) error {
	bad := e.Flags &^ harmlessExtent
	if unwritten == UnwrittenAllowed {
		bad &^= ExtentUnwritten
	}
	switch {
	case bad != 0:
		return fmt.Errorf("extent %d, at byte %d of the file, is %v", i, e.Logical, bad)
	case e.Logical < 0 || e.Physical < 0 || e.Len <= 0 || e.Logical > 1<<62 || e.Physical > 1<<62 || e.Len > 1<<62:
		return fmt.Errorf("extent %d: bytes [%d, +%d) at %d", i, e.Logical, e.Len, e.Physical)
	case e.Physical == 0:
		// No file of a file system that starts with a superblock lies there:
		// it stands for "not known".
		return fmt.Errorf("extent %d, at byte %d of the file, has no address", i, e.Logical)
	}
	return nil
}

// Constants of FS_IOC_FIEMAP (include/uapi/linux/fiemap.h), which x/sys does
// not have.
const (
	fsIocFiemap    = 0xC020660B
	fiemapSync     = 1 // write the file out first: no delayed allocation is left
	fiemapMax      = 1<<64 - 1
	fiemapBatch    = 512
	maxFileExtents = 1 << 20
)

type fiemapExtent struct {
	Logical, Physical, Length uint64
	_                         [2]uint64
	Flags                     uint32
	_                         [3]uint32
}

type fiemapRequest struct {
	Start, Length         uint64
	Flags, Mapped, Counts uint32
	_                     uint32
	Extents               [fiemapBatch]fiemapExtent
}

// FileExtents asks the kernel for all extents of a file, after writing it out.
func FileExtents(f *os.File) ([]FileExtent, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var out []FileExtent
	req := new(fiemapRequest)
	for start := uint64(0); ; {
		*req = fiemapRequest{Start: start, Length: fiemapMax - start, Flags: fiemapSync, Counts: fiemapBatch}
		var errno unix.Errno
		err := conn.Control(func(fd uintptr) {
			_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, fsIocFiemap, uintptr(unsafe.Pointer(req)))
		})
		if err == nil && errno != 0 {
			err = errno
		}
		if err != nil {
			return nil, fmt.Errorf("asking where %s lies (FIEMAP): %w", f.Name(), err)
		}
		n := min(req.Mapped, fiemapBatch)
		for _, e := range req.Extents[:n] {
			out = append(out, FileExtent{int64(e.Logical), int64(e.Physical), int64(e.Length), ExtentFlags(e.Flags)})
			start = e.Logical + e.Length
		}
		if n == 0 || out[len(out)-1].Flags&ExtentLast != 0 {
			return out, nil
		}
		if len(out) > maxFileExtents {
			return nil, fmt.Errorf("%s is in more than %d pieces", f.Name(), maxFileExtents)
		}
	}
}
