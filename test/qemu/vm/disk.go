package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Disk is a raw disk image. Writes of the guest reach the file at once, so a
// test may read it while the machine runs.
type Disk struct {
	Path string
	// WriteLog, if not empty, names a new file that records each write and
	// flush in the format of package logwrites.
	WriteLog string
	// BadSectors are 512-byte sectors that can be read, and whose writes fail.
	BadSectors []int64
	// BootLast makes the firmware try the other disks first.
	BootLast bool
}

// arguments attaches d as the i-th virtio disk, with a write cache that the
// guest must flush.
func (d Disk) arguments(i int) ([]string, error) {
	file := map[string]any{"driver": "file", "filename": d.Path}
	if len(d.BadSectors) > 0 {
		file = map[string]any{"driver": "blkdebug", "image": file, "inject-error": d.writeErrors()}
	}
	node := map[string]any{"driver": "raw", "file": file}
	if d.WriteLog != "" {
		log, err := os.OpenFile(d.WriteLog, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		log.Close()
		node = map[string]any{
			"driver": "blklogwrites", "file": file,
			"log": map[string]any{"driver": "file", "filename": d.WriteLog},
			// The log tells its length at any time, so a test can note where it stands.
			"log-super-update-interval": 1,
		}
	}
	name := fmt.Sprintf("disk%d", i)
	node["node-name"] = name
	arg, err := json.Marshal(node)
	if err != nil {
		return nil, err
	}
	// Boot index 0 is taken when QEMU loads a kernel by itself.
	order := i + 1
	if d.BootLast {
		order += 100
	}
	return []string{
		"-blockdev", string(arg),
		"-device", fmt.Sprintf("virtio-blk-pci,drive=%s,bootindex=%d,write-cache=on", name, order),
	}, nil
}

// writeErrors returns the rules of QEMU's blkdebug driver for the bad sectors.
func (d Disk) writeErrors() []map[string]any {
	var rules []map[string]any
	for _, sector := range d.BadSectors {
		rules = append(rules, map[string]any{"event": "none", "iotype": "write", "sector": sector, "errno": int(unix.EIO)})
	}
	return rules
}

// CopyDisk copies a disk image to a new file that shares its blocks where the
// filesystem can, and has its holes where it cannot.
func CopyDisk(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	size, err := src.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	return copyData(dst, src, size)
}

// copyData copies the parts of src that are no holes.
func copyData(dst, src *os.File, size int64) error {
	for end := int64(0); end < size; {
		start, err := unix.Seek(int(src.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		if end, err = unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE); err != nil {
			return err
		}
		w := io.NewOffsetWriter(dst, start)
		if _, err := io.Copy(w, io.NewSectionReader(src, start, end-start)); err != nil {
			return err
		}
	}
	return nil
}
