package blockdev

import "io"

// Scattered is a device for many short reads all over it.
type Scattered interface {
	io.ReaderAt
	// Expect announces a read of bytes [off, off+n), and does not wait for them.
	Expect(off, n int64)
}

// scatterer is implemented by devices that have a better way for such reads.
type scatterer interface{ scattered() Scattered }

// Scatter returns dev for many short reads. Where they would go past the page
// cache they go through it, so that the system can order, merge and begin those
// that it has been told of: a disk that takes some time for each would else
// take most of the time.
func Scatter(dev Device) Scattered {
	if s, ok := dev.(scatterer); ok {
		return s.scattered()
	}
	return unannounced{dev}
}

// unannounced is a device that does not care.
type unannounced struct{ io.ReaderAt }

func (unannounced) Expect(int64, int64) {}

// scatteredSection is the window of a section.
type scatteredSection struct {
	*section
	all Scattered
}

func (s *section) scattered() Scattered { return &scatteredSection{s, Scatter(s.dev)} }

func (s *scatteredSection) ReadAt(p []byte, off int64) (int, error) { return s.readAt(s.all, p, off) }

func (s *scatteredSection) Expect(off, n int64) {
	if CheckRange(off, n, s.size) == nil {
		s.all.Expect(s.off+off, n)
	}
}
