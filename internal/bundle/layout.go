package bundle

import (
	"fmt"
	"io"
	"slices"

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
	// smallNew is the same where old and new are kept apart: then a frame of
	// many files brings nothing that is not new, and packs better.
	smallNew = 1 << 20
	// zeroFrame is the shortest run of zeros that gets frames of its own,
	// which a device neither fetches nor decodes.
	zeroFrame = 64 << 10
	// oldRun is the shortest run of blocks of the previous image that gets
	// frames of its own, apart from what is new. Shorter ones are fetched all
	// the same, as gaps between ranges: a device has a limit of requests.
	oldRun = 32 << 10
)

// planFiles returns where the frames of an image end.
func (o *CreateOptions) planFiles(image io.ReaderAt, size int64) ([]int64, error) {
	extents, err := extfiles.Read(image, size)
	if err != nil {
		o.Warn(fmt.Sprintf("frames do not begin where files do: %v", err))
	}
	c := &cutter{frameSize: o.FrameSize, size: size, together: smallFile, border: map[int64]bool{}, small: map[int64]bool{}}
	if o.Previous != "" {
		c.together = smallNew
		if c.old, err = oldBlocks(image, size, o.Previous); err != nil {
			return nil, err
		}
	}
	c.files(extents)
	if err := c.run(image); err != nil {
		return nil, err
	}
	return c.cuts, nil
}

// cutter goes over an image and decides where frames end.
type cutter struct {
	frameSize, size int64
	together        int64          // files below this share a frame until it has as much
	border, small   map[int64]bool // where a frame must end, and where it may

	cuts  []int64
	start int64 // of the frame under way
	zeros int64 // length of the run of zeros that the last block ended
	zero  bool  // the frame under way is of zeros

	old  []bool // of each block: the previous image has it; nil: none is known
	aged bool   // the frame under way is of such blocks
}

// oldBlocks tells which blocks of an image the root image of a bundle has.
func oldBlocks(image io.ReaderAt, size int64, bundle string) ([]bool, error) {
	have := map[BlockHash]bool{}
	if _, err := scanRoot(bundle, func(_, _ int64, h BlockHash) { have[h] = true }); err != nil {
		return nil, fmt.Errorf("reading the previous bundle %s: %w", bundle, err)
	}
	old := make([]bool, 0, blockCount(size))
	err := eachMiB(image, size, func(_ int64, b []byte) {
		for _, h := range hashBlocks(b) {
			old = append(old, have[h])
		}
	})
	return old, err
}

// eachMiB calls visit with the whole image, a MiB at a time.
func eachMiB(image io.ReaderAt, size int64, visit func(at int64, b []byte)) error {
	buf := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), size-at)]
		if n, err := image.ReadAt(b, at); n < len(b) {
			return err
		}
		visit(at, b)
	}
	return nil
}

// files notes where files begin, given in the order of the image. Neighbours
// that were modified at another time came with another package, and change at
// another time: apart, one of them is fetched without the other.
func (c *cutter) files(extents []extfiles.Extent) {
	for i, e := range extents {
		if e.Len >= c.together || i > 0 && e.Modified != extents[i-1].Modified {
			c.border[e.Off] = true
		}
		if e.Len >= c.together {
			c.border[e.Off+e.Len] = true
		}
		c.small[e.Off] = true
	}
}

func (c *cutter) run(image io.ReaderAt) error {
	err := eachMiB(image, c.size, func(at int64, b []byte) {
		for i := 0; i < len(b); i += BlockSize {
			c.block(at+int64(i), isZero(b[i:min(i+BlockSize, len(b))]))
		}
	})
	if err != nil {
		return err
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
	case !c.zero && (c.border[at] || c.small[at] && at-c.start >= c.together):
		c.cut(at)
	}
	if !c.zero && !zero && c.turns(at) {
		c.cut(at)
	}
	if at-c.start >= c.frameSize {
		c.cut(at)
	}
}

// turns reports whether the block at an offset is the first of a run that the
// previous image has, or the first after one.
func (c *cutter) turns(at int64) bool {
	if c.old == nil {
		return false
	}
	first := at / BlockSize
	if c.aged == c.old[first] {
		return false
	}
	if !c.aged {
		// A short run is not worth a frame.
		end := first + oldRun/BlockSize
		if end > int64(len(c.old)) || slices.Contains(c.old[first:end], false) {
			return false
		}
	}
	c.aged = !c.aged
	return true
}

// cut ends the frame under way, unless it has not begun.
func (c *cutter) cut(at int64) {
	if at > c.start {
		c.cuts = append(c.cuts, at)
		c.start = at
	}
}
