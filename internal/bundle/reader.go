package bundle

import (
	"fmt"
	"io"

	"github.com/minio/sha256-simd"
)

// Reader reads a bundle front to back, in bounded memory: one frame index
// and what its caller passes to ReadFrame.
type Reader struct {
	tar      tarReader
	keyrings []byte
	envelope []byte
	keyring  *Keyring
	manifest *Manifest
	payload  Digest
	next     int // index of the next image
	current  *ImageReader
	onBlocks func(first, n int64, h BlockHash) // of the next image; may be nil
}

// Open reads keyrings.json and manifest.dsse.json and verifies the keyring
// chain and the manifest's signatures against trusted. It reads nothing else.
func Open(s Stream, trusted *Keyring) (*Reader, error) {
	r := &Reader{tar: tarReader{s: s}}
	var err error
	if r.keyrings, err = r.tar.small(KeyringsName, MaxKeyrings); err != nil {
		return nil, err
	}
	if r.keyring, err = VerifyKeyrings(r.keyrings, trusted); err != nil {
		return nil, err
	}
	if r.envelope, err = r.tar.small(ManifestName, MaxManifest); err != nil {
		return nil, err
	}
	if r.manifest, r.payload, err = verifyManifest(r.envelope, r.keyring); err != nil {
		return nil, err
	}
	return r, nil
}

// Manifest returns the verified manifest.
func (r *Reader) Manifest() *Manifest { return r.manifest }

// Envelope returns the verified bytes of manifest.dsse.json.
func (r *Reader) Envelope() []byte { return r.envelope }

// Payload is the SHA-256 of the signed text of the manifest, by which a channel
// names a bundle.
func (r *Reader) Payload() Digest { return r.payload }

// Keyring returns the newest keyring that the device may trust from now on.
func (r *Reader) Keyring() *Keyring { return r.keyring }

// Keyrings returns the verified bytes of keyrings.json. They lead to Keyring
// from the keyring that Open was given, and from later ones. From an earlier
// one they need not: steps before the given keyring prove nothing.
func (r *Reader) Keyrings() []byte { return r.keyrings }

// OnBlocks has fn called with the block index of the image that Next reads
// next, as ScanBlocks does it. The index is checked when Next returns; before
// that its words are hints.
func (r *Reader) OnBlocks(fn func(first, n int64, h BlockHash)) { r.onBlocks = fn }

// IndexEnd is where in the bundle the indexes of the next image end and its
// compressed bytes begin: what Next reads, when no image is under way.
func (r *Reader) IndexEnd() int64 {
	end := r.tar.pos + r.tar.pad
	if r.next < len(r.manifest.Images) {
		img := r.manifest.Images[r.next]
		for _, size := range []int64{framesSize(img.frames(), img.VariedFrames != 0), img.BlocksSize} {
			end += tarBlock + size + tarPadding(size)
		}
		end += tarBlock
	}
	return end
}

// Next passes over what is left of the current image, reads the indexes of
// the next one and checks them against the manifest. After the last image it
// reads the end of the bundle and returns io.EOF; anything that follows
// there is an error.
func (r *Reader) Next() (*ImageReader, error) {
	if r.current != nil {
		if err := r.current.skipRest(); err != nil {
			return nil, err
		}
	}
	if r.next == len(r.manifest.Images) {
		if err := r.tar.end(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	ir := &ImageReader{tar: &r.tar, image: r.manifest.Images[r.next]}
	r.next++
	if err := ir.readFrames(); err != nil {
		return nil, err
	}
	fn := r.onBlocks
	r.onBlocks = nil
	isDelta, err := r.tar.nextEither(ir.image.Name+blocksSuffix, ir.image.Name+deltaSuffix)
	if err != nil {
		return nil, err
	}
	if isDelta {
		r.current = ir
		return ir, ir.readDelta()
	}
	if err := ir.readBlocks(fn); err != nil {
		return nil, err
	}
	if err := r.tar.nextOf(ir.image.Name+zstSuffix, ir.image.CompressedSize); err != nil {
		return nil, err
	}
	ir.start = r.tar.pos
	r.current = ir
	return ir, nil
}

// ImageReader reads the frames of one image, in order.
type ImageReader struct {
	tar   *tarReader
	image Image
	index *FrameIndex
	next  int // index of the next frame
	delta *DeltaReader
	start int64 // where in the bundle the first frame's compressed bytes begin
}

func (ir *ImageReader) readFrames() error {
	img, name := ir.image, ir.image.Name+framesSuffix
	size := framesSize(img.frames(), img.VariedFrames != 0)
	if err := ir.tar.nextOf(name, size); err != nil {
		return err
	}
	b := make([]byte, size)
	if err := ir.tar.readFull(b, name); err != nil {
		return err
	}
	if digest(b) != img.FramesSHA256 {
		return hashErrorf("reading %s: its SHA-256 is not the one in the manifest", name)
	}
	index, err := ParseFrames(b)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if index.ImageSize != img.Size || index.FrameSize != img.FrameSize || index.CompressedSize() != img.CompressedSize || index.Varied != (img.VariedFrames != 0) {
		return formatErrorf("reading %s: sizes are not those in the manifest", name)
	}
	ir.index = index
	return nil
}

// readBlocks hashes and checks the block index in pieces: that of a large
// image is larger than what a small device can hold, and an update that
// takes whole frames does not need it.
func (ir *ImageReader) readBlocks(fn func(first, n int64, h BlockHash)) error {
	img, name := ir.image, ir.image.Name+blocksSuffix
	if ir.tar.left != img.BlocksSize {
		return formatErrorf("reading %s: the tar has %d bytes, the manifest says %d", name, ir.tar.left, img.BlocksSize)
	}
	h, p := sha256.New(), &blockParser{imageSize: img.Size, fn: fn}
	buf := make([]byte, min(img.BlocksSize, 64<<10))
	for ir.tar.left > 0 {
		b := buf[:min(ir.tar.left, int64(len(buf)))]
		if err := ir.tar.readFull(b, name); err != nil {
			return err
		}
		h.Write(b)
		_, _ = p.Write(b) // keeps its error for finish
	}
	if Digest(h.Sum(nil)) != img.BlocksSHA256 {
		return hashErrorf("reading %s: its SHA-256 is not the one in the manifest", name)
	}
	if err := p.finish(); err != nil {
		return formatErrorf("reading %s: %w", name, err)
	}
	return nil
}

// Delta returns the reader of the records when this is a delta bundle, which
// has those in place of compressed frames; else nil.
func (ir *ImageReader) Delta() *DeltaReader { return ir.delta }

// Image returns what the manifest says of the image.
func (ir *ImageReader) Image() Image { return ir.image }

// Frames returns the verified frame index.
func (ir *ImageReader) Frames() []Frame { return ir.index.Frames }

// Start is where in the bundle the compressed bytes of the first frame begin;
// those of the others follow without a gap.
func (ir *ImageReader) Start() int64 { return ir.start }

// Offset is where in the bundle the compressed bytes of frame i begin.
func (ir *ImageReader) Offset(i int) int64 {
	at := ir.start
	for _, f := range ir.index.Frames[:i] {
		at += int64(f.CompressedLen)
	}
	return at
}

// MaxCompressed is the length of the longest compressed frame: a buffer of
// this capacity serves every ReadFrame.
func (ir *ImageReader) MaxCompressed() int {
	n := 0
	for _, f := range ir.index.Frames {
		n = max(n, f.CompressedLen)
	}
	return n
}

// ReadFrame reads the compressed bytes of the next frame into buf, which it
// replaces when it is too small, and returns the frame's index; io.EOF after
// the last. The bytes are not checked yet: that is Decoder's work, which can
// be done on another goroutine.
func (ir *ImageReader) ReadFrame(buf []byte) (i int, compressed []byte, err error) {
	f, err := ir.frame()
	if err != nil {
		return 0, nil, err
	}
	if cap(buf) < f.CompressedLen {
		buf = make([]byte, f.CompressedLen)
	}
	i, compressed = ir.next, buf[:f.CompressedLen]
	if err := ir.tar.readFull(compressed, ir.what()); err != nil {
		return 0, nil, err
	}
	ir.next++
	return i, compressed, nil
}

// SkipFrame passes over the next frame; io.EOF after the last.
func (ir *ImageReader) SkipFrame() error {
	f, err := ir.frame()
	if err != nil {
		return err
	}
	if err := ir.tar.skip(int64(f.CompressedLen), ir.what()); err != nil {
		return err
	}
	ir.next++
	return nil
}

func (ir *ImageReader) frame() (Frame, error) {
	if ir.delta != nil {
		return Frame{}, formatErrorf("reading image %s: this is a delta, not a whole bundle", ir.image.Name)
	}
	if ir.next == len(ir.index.Frames) {
		return Frame{}, io.EOF
	}
	return ir.index.Frames[ir.next], nil
}

func (ir *ImageReader) what() string {
	return fmt.Sprintf("frame %d of %s%s", ir.next, ir.image.Name, zstSuffix)
}

func (ir *ImageReader) skipRest() error {
	err := ir.tar.skip(ir.tar.left, "the rest of "+ir.image.Name+zstSuffix)
	ir.next = len(ir.index.Frames)
	return err
}
