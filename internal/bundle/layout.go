package bundle

import (
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/extfiles"
)

// Layout says how an image is cut into frames.
type Layout uint8

// The layouts. LayoutFixed packs best; LayoutFiles lets a device that has
// most of the image already fetch little that it does not need.
const (
	LayoutFixed Layout = iota + 1 // all frames of one size
	LayoutFiles                   // frames begin where files do
)

// FilesFrameSize is the frame size of LayoutFiles unless another is asked for.
// Measured on a Debian image: smaller frames fetch less that is not needed,
// but compress worse, and together that is more (docs/performance.md).
const FilesFrameSize = 1 << 20

// String returns the name that the command line uses.
func (l Layout) String() string {
	switch l {
	case LayoutFixed:
		return "fixed"
	case LayoutFiles:
		return "files"
	}
	return fmt.Sprintf("bundle.Layout(%d)", uint8(l))
}

// ParseLayout parses what String returns.
func ParseLayout(s string) (Layout, error) {
	for _, l := range []Layout{LayoutFixed, LayoutFiles} {
		if s == l.String() {
			return l, nil
		}
	}
	return 0, fmt.Errorf("layout %q: must be fixed or files", s)
}

// Bytes of image, all multiples of BlockSize.
const (
	// smallFile: files below this share a frame until it has as much.
	smallFile = 64 << 10
	// zeroFrame is the shortest run of zeros that gets frames of its own,
	// which a device neither fetches nor decodes.
	zeroFrame = 64 << 10
)

// planFiles returns where the frames of an image end.
func (o *CreateOptions) planFiles(image io.ReaderAt, size int64) ([]int64, error) {
	extents, err := extfiles.Read(image, size)
	if err != nil {
		o.Warn(fmt.Sprintf("frames do not begin where files do: %v", err))
	}
	c := &cutter{frameSize: o.FrameSize, size: size, large: map[int64]bool{}, small: map[int64]bool{}}
	for _, e := range extents {
		if e.Len >= smallFile {
			c.large[e.Off], c.large[e.Off+e.Len] = true, true
		} else {
			c.small[e.Off] = true
		}
	}
	if err := c.run(image); err != nil {
		return nil, err
	}
	return c.cuts, nil
}

// cutter goes over an image and decides where frames end.
type cutter struct {
	frameSize, size int64
	large, small    map[int64]bool // where files begin, and large ones end

	cuts  []int64
	start int64 // of the frame under way
	zeros int64 // length of the run of zeros that the last block ended
	zero  bool  // the frame under way is of zeros
}

func (c *cutter) run(image io.ReaderAt) error {
	buf := make([]byte, 1<<20)
	for at := int64(0); at < c.size; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), c.size-at)]
		if n, err := image.ReadAt(b, at); n < len(b) {
			return err
		}
		for i := 0; i < len(b); i += BlockSize {
			c.block(at+int64(i), isZero(b[i:min(i+BlockSize, len(b))]))
		}
	}
	c.cut(c.size)
	if int64(len(c.cuts)) > maxFrames {
		return fmt.Errorf("%d frames; at most %d: choose the layout fixed", len(c.cuts), maxFrames)
	}
	return nil
}

// block takes note of the block at an offset.
func (c *cutter) block(at int64, zero bool) {
	if zero {
		c.zeros += BlockSize
	} else {
		c.zeros = 0
	}
	switch {
	case zero && !c.zero && c.zeros == zeroFrame:
		c.cut(at + BlockSize - zeroFrame) // the run began before it was known to be long
		c.zero = true
	case !zero && c.zero:
		c.cut(at)
		c.zero = false
	case !c.zero && (c.large[at] || c.small[at] && at-c.start >= smallFile):
		c.cut(at)
	}
	if at-c.start >= c.frameSize {
		c.cut(at)
	}
}

// cut ends the frame under way, unless it has not begun.
func (c *cutter) cut(at int64) {
	if at > c.start {
		c.cuts = append(c.cuts, at)
		c.start = at
	}
}
