package devmapper

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// struct dm_ioctl and struct dm_target_spec of linux/dm-ioctl.h.
const (
	headerSize = 312
	nameSize   = 128 // with its NUL

	offVersion   = 0
	offDataSize  = 12
	offDataStart = 16
	offTargets   = 20
	offFlags     = 28
	offDev       = 40
	offName      = 48

	specSize   = 40
	specStart  = 0 // sectors
	specLength = 8
	specNext   = 20 // bytes from the start of this one to the next
	specType   = 24
)

// Commands and flags.
const (
	cmdCreate  = 3
	cmdRemove  = 4
	cmdSuspend = 6 // resumes, too
	cmdLoad    = 9

	flagReadOnly = 1 << 0
)

// ioctlNumber is _IOWR(0xFD, cmd, struct dm_ioctl).
func ioctlNumber(cmd uint) uint { return 3<<30 | headerSize<<16 | 0xFD<<8 | cmd }

// request is what a command takes besides the device's name.
type request struct {
	flags   uint32
	targets uint32
	table   []byte
}

// encode returns the buffer for the kernel, which also answers in it.
func (r request) encode(name string) []byte {
	b := make([]byte, headerSize+len(r.table))
	ne := binary.NativeEndian
	ne.PutUint32(b[offVersion:], 4) // 4.0.0: what every kernel since 2.6 takes
	ne.PutUint32(b[offDataSize:], uint32(len(b)))
	ne.PutUint32(b[offDataStart:], headerSize)
	ne.PutUint32(b[offTargets:], r.targets)
	ne.PutUint32(b[offFlags:], r.flags)
	copy(b[offName:offName+nameSize-1], name)
	copy(b[headerSize:], r.table)
	return b
}

func call(ctl *os.File, cmd uint, name string, r request) ([]byte, error) {
	b := r.encode(name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, ctl.Fd(), uintptr(ioctlNumber(cmd)), uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	if errno != 0 {
		return nil, errno
	}
	return b, nil
}

// encodeTable returns the targets for segments of the disk with this number.
func encodeTable(major, minor uint32, segments []Segment) ([]byte, error) {
	if len(segments) == 0 {
		return nil, fmt.Errorf("a device without content")
	}
	var table []byte
	at := int64(0)
	for _, s := range segments {
		if s.Start < 0 || s.Length <= 0 {
			return nil, fmt.Errorf("%d sectors from sector %d", s.Length, s.Start)
		}
		params := fmt.Sprintf("%d:%d %d\x00", major, minor, s.Start)
		spec := make([]byte, (specSize+len(params)+7)/8*8)
		ne := binary.NativeEndian
		ne.PutUint64(spec[specStart:], uint64(at))
		ne.PutUint64(spec[specLength:], uint64(s.Length))
		ne.PutUint32(spec[specNext:], uint32(len(spec)))
		copy(spec[specType:], "linear")
		copy(spec[specSize:], params)
		table = append(table, spec...)
		at += s.Length
	}
	return table, nil
}
