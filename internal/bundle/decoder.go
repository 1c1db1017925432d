package bundle

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Decoder turns compressed frames into image bytes. Each goroutine needs one
// of its own.
type Decoder struct {
	zstd     *zstd.Decoder
	maxFrame int
}

// NewDecoder returns a decoder for frames of at most maxFrame image bytes.
// That is also the largest window it accepts, so it needs little more memory
// than the frame itself.
func NewDecoder(maxFrame int) (*Decoder, error) {
	if maxFrame <= 0 || maxFrame > MaxFrameSize {
		return nil, fmt.Errorf("internal error: a decoder for frames of %d bytes", maxFrame)
	}
	z, err := zstd.NewReader(nil,
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(uint64(max(maxFrame, zstd.MinWindowSize))),
		zstd.WithDecoderMaxMemory(uint64(maxFrame)),
		zstd.WithDecodeAllCapLimit(true),
	)
	if err != nil {
		return nil, fmt.Errorf("internal error: zstd decoder: %w", err)
	}
	return &Decoder{zstd: z, maxFrame: maxFrame}, nil
}

// Close gives the decoder's memory back.
func (d *Decoder) Close() { d.zstd.Close() }

// Decode checks compressed against the frame's length and hash, decompresses
// it into dst (reused when it is large enough) and checks the result against
// the frame's image length and hash. The decompressor never sees bytes that
// were not signed, and stops at the declared length all the same.
func (d *Decoder) Decode(dst []byte, f Frame, compressed []byte) ([]byte, error) {
	out, err := d.Expand(dst, f, compressed)
	if err == nil && !f.Zero && digest(out) != f.SHA256 {
		err = ImageMismatch(f)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Expand is Decode without its last check. It is for callers that check the
// image bytes where they end up, and so hash them once: until then they are
// what signed bytes decompress to, and not known to be the signed image.
func (d *Decoder) Expand(dst []byte, f Frame, compressed []byte) ([]byte, error) {
	if f.Len <= 0 || f.Len > int64(d.maxFrame) {
		return nil, fmt.Errorf("internal error: a frame of %d bytes in a decoder for %d", f.Len, d.maxFrame)
	}
	if !f.Signed(compressed) {
		return nil, hashErrorf("frame at byte %d of the image: the compressed bytes are not the signed ones", f.Off)
	}
	if int64(cap(dst)) < f.Len {
		dst = make([]byte, f.Len)
	}
	if f.Zero {
		// Known from the index: neither decompressing nor hashing adds anything.
		dst = dst[:f.Len]
		clear(dst)
		return dst, nil
	}
	// The capacity is the limit at which DecodeAll gives up.
	out, err := d.zstd.DecodeAll(compressed, dst[:0:f.Len])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, hashErrorf("frame at byte %d of the image: it expands beyond its declared %d bytes", f.Off, f.Len)
	case err != nil:
		return nil, hashErrorf("frame at byte %d of the image: %w", f.Off, err)
	case int64(len(out)) != f.Len:
		return nil, ImageMismatch(f)
	}
	return out, nil
}

// ImageMismatch is the error for a frame whose compressed bytes are the signed
// ones and whose image bytes are not.
func ImageMismatch(f Frame) error {
	return hashErrorf("frame at byte %d of the image: the image bytes are not the signed ones", f.Off)
}
