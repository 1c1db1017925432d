//go:build qemu

package qemu

import (
	"errors"
	"os"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
)

// shadow is the disk as the model sees it: what the real one held when it was
// looked at last, with the model's own writes on top. It never touches the
// real disk.
type shadow struct {
	disk  string
	size  int64
	own   map[int64][]byte // sectors that the model has written, by offset
	blind []bootctl.Extent // GRUB finds no usable file here
	fixed []bootctl.Extent // writes here fail
}

func newShadow(disk string) (*shadow, error) {
	st, err := os.Stat(disk)
	if err != nil {
		return nil, err
	}
	return &shadow{disk: disk, size: st.Size(), own: make(map[int64][]byte)}, nil
}

// ReadAt implements blockdev.Device for whole sectors.
func (s *shadow) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange(off, int64(len(p)), s.size); err != nil {
		return 0, err
	}
	f, err := os.Open(s.disk)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.ReadAt(p, off); err != nil {
		return 0, err
	}
	for at := int64(0); at < int64(len(p)); at += blockdev.SectorSize {
		if own, ok := s.own[off+at]; ok {
			copy(p[at:], own)
		}
		if within(s.blind, off+at) {
			clear(p[at:min(at+blockdev.SectorSize, int64(len(p)))])
		}
	}
	return len(p), nil
}

// WriteAt implements blockdev.Device for whole sectors.
func (s *shadow) WriteAt(p []byte, off int64) (int, error) {
	if within(s.fixed, off) || within(s.blind, off) {
		return 0, errors.New("the disk refuses this write")
	}
	for at := 0; at < len(p); at += blockdev.SectorSize {
		s.own[off+int64(at)] = append([]byte(nil), p[at:at+blockdev.SectorSize]...)
	}
	return len(p), nil
}

func (s *shadow) Sync() error     { return nil }
func (s *shadow) Size() int64     { return s.size }
func (s *shadow) SectorSize() int { return blockdev.SectorSize }

func within(extents []bootctl.Extent, off int64) bool {
	for _, e := range extents {
		if off >= e.Off && off < e.End() {
			return true
		}
	}
	return false
}
