package bundle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/minio/sha256-simd"
)

// The frame index, NAME.frames; all integers little-endian:
//
//	 0  8  magic "ABFRAME1", or "ABFRAME2" for frames of different lengths
//	 8  8  image size
//	16  4  frame size: the length of each frame but the last, or in ABFRAME2
//	       of the longest there may be
//	20  4  number of frames
//	24  8  sum of the compressed lengths
//	32  68 for each frame: SHA-256 of its image bytes, SHA-256 of its
//	       compressed bytes, compressed length (4); in ABFRAME2 72: and the
//	       length of its image bytes (4)
const (
	framesMagic      = "ABFRAME1"
	framesMagic2     = "ABFRAME2"
	framesHeaderSize = 32
	frameEntrySize   = 2*len(Digest{}) + 4
	frameEntrySize2  = frameEntrySize + 4
)

// Frame is one independently compressed piece of an image.
type Frame struct {
	Off, Len         int64  // image bytes [Off, Off+Len)
	SHA256           Digest // of the image bytes
	CompressedLen    int
	CompressedSHA256 Digest
	Zero             bool // the image bytes are all zero
}

// Matches reports whether plain is the frame's image bytes.
func (f Frame) Matches(plain []byte) bool {
	return int64(len(plain)) == f.Len && digest(plain) == f.SHA256
}

// Signed reports whether compressed are the signed bytes of the frame.
func (f Frame) Signed(compressed []byte) bool {
	return len(compressed) == f.CompressedLen && digest(compressed) == f.CompressedSHA256
}

// FrameIndex is the content of NAME.frames.
type FrameIndex struct {
	ImageSize int64
	FrameSize int64 // of the longest frame there may be
	Varied    bool  // the frames have lengths of their own
	Frames    []Frame
}

// framesSize is the size of NAME.frames for n frames.
func framesSize(n int64, varied bool) int64 {
	if varied {
		return framesHeaderSize + n*int64(frameEntrySize2)
	}
	return framesHeaderSize + n*int64(frameEntrySize)
}

// ParseFrames parses a frame index. The number of frames is compared with what
// image and frame size allow and with the length of b before anything is
// allocated for it.
func ParseFrames(b []byte) (*FrameIndex, error) {
	if len(b) < framesHeaderSize || string(b[:8]) != framesMagic && string(b[:8]) != framesMagic2 {
		return nil, formatErrorf("reading a frame index: it does not start with %q or %q", framesMagic, framesMagic2)
	}
	size, frameSize := binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:])
	count, total := int64(binary.LittleEndian.Uint32(b[20:])), binary.LittleEndian.Uint64(b[24:])
	if size > maxImageSize {
		return nil, formatErrorf("reading a frame index: an image of %d bytes is too large", size)
	}
	x := &FrameIndex{ImageSize: int64(size), FrameSize: int64(frameSize), Varied: string(b[:8]) == framesMagic2}
	if err := checkGeometry(x.ImageSize, x.FrameSize); err != nil {
		return nil, formatErrorf("reading a frame index: %w", err)
	}
	n := frameCount(x.ImageSize, x.FrameSize)
	if x.Varied && count > n {
		n = min(count, maxVaried(x.ImageSize))
	}
	if count != n || int64(len(b)) != framesSize(n, x.Varied) {
		return nil, formatErrorf("reading a frame index: %d frames in %d bytes, where the image has %d frames", count, len(b), n)
	}
	x.Frames = make([]Frame, n)
	if err := x.parseEntries(b[framesHeaderSize:]); err != nil {
		return nil, formatErrorf("reading a frame index: %w", err)
	}
	x.markZeros()
	if sum := x.CompressedSize(); uint64(sum) != total {
		return nil, formatErrorf("reading a frame index: the frames have %d compressed bytes, the header says %d", sum, total)
	}
	return x, nil
}

// maxVaried is the most frames of different lengths that an image may have: a
// frame has a block at the least.
func maxVaried(size int64) int64 { return min(maxFrames, blockCount(size)) }

func (x *FrameIndex) parseEntries(b []byte) error {
	entry, off := len(b)/len(x.Frames), int64(0)
	for i := range x.Frames {
		e := b[i*entry:][:entry]
		f := &x.Frames[i]
		left := x.ImageSize - off
		f.Off, f.Len = off, min(x.FrameSize, left)
		if x.Varied {
			f.Len = int64(binary.LittleEndian.Uint32(e[frameEntrySize:]))
			if f.Len == 0 || f.Len > min(x.FrameSize, left) || f.Len%BlockSize != 0 && f.Len != left {
				return fmt.Errorf("frame %d: %d bytes, where the image has %d more", i, f.Len, left)
			}
		}
		off += f.Len
		copy(f.SHA256[:], e)
		copy(f.CompressedSHA256[:], e[len(f.SHA256):])
		n := binary.LittleEndian.Uint32(e[2*len(f.SHA256):])
		if n == 0 || int64(n) > maxCompressed(f.Len) {
			return fmt.Errorf("frame %d: %d compressed bytes for %d bytes of image", i, n, f.Len)
		}
		f.CompressedLen = int(n)
	}
	if off != x.ImageSize {
		return fmt.Errorf("the frames end at byte %d of %d", off, x.ImageSize)
	}
	return nil
}

// markZeros finds the frames of zeros by their hash, with one pass over as
// many zeros as the longest frame has, however many lengths there are.
func (x *FrameIndex) markZeros() {
	byLen := map[int64][]*Frame{}
	for i := range x.Frames {
		f := &x.Frames[i]
		byLen[f.Len] = append(byLen[f.Len], f)
	}
	h, at := sha256.New(), int64(0)
	for _, n := range slices.Sorted(maps.Keys(byLen)) {
		for at < n {
			k := min(n-at, int64(len(zeros)))
			h.Write(zeros[:k])
			at += k
		}
		zero := Digest(h.Sum(nil))
		for _, f := range byLen[n] {
			f.Zero = f.SHA256 == zero
		}
	}
}

// CompressedSize is the size of NAME.zst.
func (x *FrameIndex) CompressedSize() int64 {
	var sum int64
	for _, f := range x.Frames {
		sum += int64(f.CompressedLen)
	}
	return sum
}

// Marshal returns the bytes of NAME.frames.
func (x *FrameIndex) Marshal() []byte {
	b := make([]byte, 0, framesSize(int64(len(x.Frames)), x.Varied))
	if x.Varied {
		b = append(b, framesMagic2...)
	} else {
		b = append(b, framesMagic...)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(x.ImageSize))
	b = binary.LittleEndian.AppendUint32(b, uint32(x.FrameSize))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(x.Frames)))
	b = binary.LittleEndian.AppendUint64(b, uint64(x.CompressedSize()))
	for _, f := range x.Frames {
		b = append(b, f.SHA256[:]...)
		b = append(b, f.CompressedSHA256[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(f.CompressedLen))
		if x.Varied {
			b = binary.LittleEndian.AppendUint32(b, uint32(f.Len))
		}
	}
	return b
}

var zeros [64 << 10]byte

// isZero reports whether all of b is zero.
func isZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
