package bundle

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/abupdate/abupdate/internal/extfiles"
)

// Comparison is what an image costs a device that has another one, and which
// files are to blame. All figures are bytes.
type Comparison struct {
	Data     int64 // of the image, without blocks of zeros
	New      int64 // of that, blocks that the other image has nowhere
	Fetch    int64 // compressed length of the frames that they lie in
	Files    []FileChange
	Metadata int64 // new bytes in no file: inodes, directories of the file system
}

// FileChange is a file with blocks that the other image has nowhere.
type FileChange struct {
	Path      string
	Size, New int64  // of its blocks
	Packed    string // gzip, xz, … when the file is compressed in itself; else empty
}

// Compare holds the root image of a bundle against that of an older one.
// Neither is verified: it tells a builder about layouts, and decides nothing.
// image is the file that the newer bundle was made of; the files are named
// when it holds ext4.
func Compare(older, newer, image string) (*Comparison, error) {
	c, err := compare(older, newer, image)
	if err != nil {
		return nil, fmt.Errorf("comparing %s with %s: %w", newer, older, err)
	}
	return c, nil
}

func compare(older, newer, image string) (*Comparison, error) {
	have := map[BlockHash]bool{}
	if _, err := scanRoot(older, func(_, _ int64, h BlockHash) { have[h] = true }); err != nil {
		return nil, err
	}
	c := &Comparison{}
	var fresh []int64 // numbers of the new blocks
	frames, err := scanRoot(newer, func(first, _ int64, h BlockHash) {
		if h == 0 {
			return
		}
		c.Data += BlockSize
		if !have[h] {
			fresh = append(fresh, first)
		}
	})
	if err != nil {
		return nil, err
	}
	c.New = int64(len(fresh)) * BlockSize
	c.Fetch = fetchOf(frames, fresh)
	return c, c.blame(image, fresh)
}

// scanRoot reads the indexes of a bundle's first image.
func scanRoot(path string, fn func(first, n int64, h BlockHash)) ([]Frame, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u, t, err := inspect(NewStream(f))
	if err != nil {
		return nil, err
	}
	r := &Reader{tar: *t, manifest: u.Manifest}
	r.OnBlocks(fn)
	ir, err := r.Next()
	if err != nil {
		return nil, err
	}
	return ir.Frames(), nil
}

// fetchOf is the compressed length of the frames that blocks lie in, which are
// in order.
func fetchOf(frames []Frame, blocks []int64) (n int64) {
	for _, f := range frames {
		mine := 0
		for mine < len(blocks) && blocks[mine]*BlockSize < f.Off+f.Len {
			mine++
		}
		if mine > 0 {
			n += int64(f.CompressedLen)
		}
		blocks = blocks[mine:]
	}
	return n
}

// blame finds the files of the blocks.
func (c *Comparison) blame(image string, blocks []int64) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	extents, err := extfiles.Read(f, st.Size())
	if err != nil {
		return nil //nolint:nilerr // another file system: the sums must do
	}
	byPath := map[string]*FileChange{}
	first := map[string]int64{} // where a file begins
	for _, e := range extents {
		change := byPath[e.Path]
		if change == nil {
			change = &FileChange{Path: e.Path}
			byPath[e.Path], first[e.Path] = change, e.Off
		}
		change.Size += e.Len
		for len(blocks) > 0 && blocks[0]*BlockSize < e.Off+e.Len {
			if (blocks[0]+1)*BlockSize > e.Off {
				change.New += BlockSize
			} else {
				c.Metadata += BlockSize
			}
			blocks = blocks[1:]
		}
	}
	c.Metadata += int64(len(blocks)) * BlockSize
	for path, change := range byPath {
		if change.New > 0 {
			change.Packed = packing(f, first[path])
			c.Files = append(c.Files, *change)
		}
	}
	slices.SortFunc(c.Files, func(a, b FileChange) int {
		return cmp.Or(cmp.Compare(b.New, a.New), cmp.Compare(a.Path, b.Path))
	})
	return nil
}

// packings are the first bytes of files that are compressed in themselves: one
// changed byte changes all that follows in them.
var packings = []struct {
	magic []byte
	name  string
}{
	{[]byte{0x1F, 0x8B}, "gzip"},
	{[]byte("\xFD7zXZ\x00"), "xz"},
	{[]byte{0x28, 0xB5, 0x2F, 0xFD}, "zstd"},
	{[]byte("BZh"), "bzip2"},
	{[]byte("PK\x03\x04"), "zip"},
}

func packing(image *os.File, at int64) string {
	head := make([]byte, 6)
	if _, err := image.ReadAt(head, at); err != nil {
		return ""
	}
	for _, p := range packings {
		if bytes.HasPrefix(head, p.magic) {
			return p.name
		}
	}
	return ""
}
