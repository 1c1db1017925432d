package bundle

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The frame index, NAME.frames; all integers little-endian:
//
//	 0  8  magic "ABFRAME1"
//	 8  8  image size
//	16  4  frame size
//	20  4  number of frames
//	24  8  sum of the compressed lengths
//	32  68 for each frame: SHA-256 of its image bytes, SHA-256 of its
//	       compressed bytes, compressed length (4)
const (
	framesMagic      = "ABFRAME1"
	framesHeaderSize = 32
	frameEntrySize   = 2*len(Digest{}) + 4
)

// Frame is one independently compressed piece of an image.
type Frame struct {
	Off, Len         int64  // image bytes [Off, Off+Len)
	SHA256           Digest // of the image bytes
	CompressedLen    int
	CompressedSHA256 Digest
	Zero             bool // the image bytes are all zero
}

// FrameIndex is the content of NAME.frames.
type FrameIndex struct {
	ImageSize int64
	FrameSize int64
	Frames    []Frame
}

// framesSize is the size of NAME.frames for n frames.
func framesSize(n int64) int64 { return framesHeaderSize + n*int64(frameEntrySize) }

// ParseFrames parses a frame index. The number of frames follows from image
// and frame size and is compared with the length of b before anything is
// allocated for it.
func ParseFrames(b []byte) (*FrameIndex, error) {
	if len(b) < framesHeaderSize || string(b[:8]) != framesMagic {
		return nil, formatErrorf("reading a frame index: it does not start with %q", framesMagic)
	}
	size, frameSize := binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:])
	count, total := binary.LittleEndian.Uint32(b[20:]), binary.LittleEndian.Uint64(b[24:])
	if size > maxImageSize {
		return nil, formatErrorf("reading a frame index: an image of %d bytes is too large", size)
	}
	x := &FrameIndex{ImageSize: int64(size), FrameSize: int64(frameSize)}
	if err := checkGeometry(x.ImageSize, x.FrameSize); err != nil {
		return nil, formatErrorf("reading a frame index: %w", err)
	}
	n := frameCount(x.ImageSize, x.FrameSize)
	if int64(count) != n || int64(len(b)) != framesSize(n) {
		return nil, formatErrorf("reading a frame index: %d frames in %d bytes, where the image has %d frames", count, len(b), n)
	}
	x.Frames = make([]Frame, n)
	if err := x.parseEntries(b[framesHeaderSize:]); err != nil {
		return nil, formatErrorf("reading a frame index: %w", err)
	}
	if sum := x.CompressedSize(); uint64(sum) != total {
		return nil, formatErrorf("reading a frame index: the frames have %d compressed bytes, the header says %d", sum, total)
	}
	return x, nil
}

func (x *FrameIndex) parseEntries(b []byte) error {
	zero := zeroDigest(min(x.FrameSize, x.ImageSize))
	for i := range x.Frames {
		e := b[i*frameEntrySize:][:frameEntrySize]
		f := &x.Frames[i]
		f.Off = int64(i) * x.FrameSize
		f.Len = min(x.FrameSize, x.ImageSize-f.Off)
		copy(f.SHA256[:], e)
		copy(f.CompressedSHA256[:], e[len(f.SHA256):])
		n := binary.LittleEndian.Uint32(e[2*len(f.SHA256):])
		if n == 0 || int64(n) > maxCompressed(f.Len) {
			return fmt.Errorf("frame %d: %d compressed bytes for %d bytes of image", i, n, f.Len)
		}
		f.CompressedLen = int(n)
		if i == len(x.Frames)-1 && f.Len != x.FrameSize {
			zero = zeroDigest(f.Len)
		}
		f.Zero = f.SHA256 == zero
	}
	return nil
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
	b := make([]byte, 0, framesSize(int64(len(x.Frames))))
	b = append(b, framesMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(x.ImageSize))
	b = binary.LittleEndian.AppendUint32(b, uint32(x.FrameSize))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(x.Frames)))
	b = binary.LittleEndian.AppendUint64(b, uint64(x.CompressedSize()))
	for _, f := range x.Frames {
		b = append(b, f.SHA256[:]...)
		b = append(b, f.CompressedSHA256[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(f.CompressedLen))
	}
	return b
}

var zeros [64 << 10]byte

// zeroDigest is the SHA-256 of n zero bytes.
func zeroDigest(n int64) Digest { return digest(make([]byte, n)) }

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
