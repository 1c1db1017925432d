package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The block index, NAME.blocks: what each 4 KiB block of the image looks
// like, so that a device finds the blocks it has already. It only *finds*
// them: what is written is always checked against the frame's full hash, so
// 8 bytes of hash are enough. All integers little-endian:
//
//	 0  8  magic "ABBLOCK1"
//	 8  8  image size
//	16  8  words, one for each block: the first 8 bytes of its SHA-256 (the
//	       last block padded with zeros to 4096); a hash that is 0 is stored
//	       as 1. A word 0 stands for a run of zero blocks; the next word is
//	       the run's length. Runs are as long as they can be.
const (
	blocksMagic      = "ABBLOCK1"
	blocksHeaderSize = 16
)

// BlockHash is the truncated SHA-256 of a block; 0 means that the block is
// all zeros.
type BlockHash uint64

// HashBlock hashes one block; shorter input counts as padded with zeros.
func HashBlock(b []byte) BlockHash {
	if isZero(b) {
		return 0
	}
	var padded [BlockSize]byte
	if len(b) < BlockSize {
		copy(padded[:], b)
		b = padded[:]
	}
	d := digest(b)
	return max(1, BlockHash(binary.LittleEndian.Uint64(d[:8])))
}

// hashBlocks hashes the blocks of a frame.
func hashBlocks(data []byte) []BlockHash {
	var hashes []BlockHash
	for len(data) > 0 {
		n := min(BlockSize, len(data))
		hashes = append(hashes, HashBlock(data[:n]))
		data = data[n:]
	}
	return hashes
}

func blockCount(size int64) int64 { return (size + BlockSize - 1) / BlockSize }

// blocksSizeRange bounds the size of NAME.blocks: at the least one run, at
// the most every other block a run of one (two words).
func blocksSizeRange(size int64) (lo, hi int64) {
	n := blockCount(size)
	lo = 8
	if n > 1 {
		lo = 16
	}
	return blocksHeaderSize + lo, blocksHeaderSize + 8*(n+(n+1)/2)
}

// blockWriter encodes a block index. Add blocks in order, then Bytes.
type blockWriter struct {
	buf []byte
	run uint64 // zero blocks not yet written
}

func newBlockWriter(imageSize int64) *blockWriter {
	b := append([]byte(nil), blocksMagic...)
	return &blockWriter{buf: binary.LittleEndian.AppendUint64(b, uint64(imageSize))}
}

func (w *blockWriter) add(hashes []BlockHash) {
	for _, h := range hashes {
		if h == 0 {
			w.run++
			continue
		}
		w.flush()
		w.buf = binary.LittleEndian.AppendUint64(w.buf, uint64(h))
	}
}

func (w *blockWriter) flush() {
	if w.run == 0 {
		return
	}
	w.buf = binary.LittleEndian.AppendUint64(w.buf, 0)
	w.buf = binary.LittleEndian.AppendUint64(w.buf, w.run)
	w.run = 0
}

func (w *blockWriter) bytes() []byte {
	w.flush()
	return w.buf
}

// blockParser checks a block index piece by piece in constant memory: the
// index of a large image is larger than what a small device can hold. It is
// an io.Writer, so that hashing and parsing are one pass.
type blockParser struct {
	imageSize int64
	fn        func(first, n int64, h BlockHash) // may be nil

	partial []byte // less than one word
	header  int    // words of the header seen
	next    int64  // first block not yet described
	inRun   bool   // the next word is a run length
	ran     bool   // the last description was a run
	err     error
}

// Write consumes a piece. It keeps the first error for finish and never
// fails itself, so that the hash next to it still sees every byte.
func (p *blockParser) Write(b []byte) (int, error) {
	n := len(b)
	if len(p.partial) > 0 {
		take := min(8-len(p.partial), len(b))
		p.partial = append(p.partial, b[:take]...)
		b = b[take:]
		if len(p.partial) < 8 {
			return n, nil
		}
		p.word(binary.LittleEndian.Uint64(p.partial))
		p.partial = p.partial[:0]
	}
	for ; len(b) >= 8; b = b[8:] {
		p.word(binary.LittleEndian.Uint64(b))
	}
	p.partial = append(p.partial, b...)
	return n, nil
}

func (p *blockParser) word(w uint64) {
	if p.err == nil {
		p.err = p.accept(w)
	}
}

func (p *blockParser) accept(w uint64) error {
	switch {
	case p.header == 0:
		p.header++
		if w != binary.LittleEndian.Uint64([]byte(blocksMagic)) {
			return fmt.Errorf("it does not start with %q", blocksMagic)
		}
		return nil
	case p.header == 1:
		p.header++
		if w != uint64(p.imageSize) {
			return fmt.Errorf("it describes an image of %d bytes, not of %d", w, p.imageSize)
		}
		return nil
	case p.inRun:
		p.inRun, p.ran = false, true
		return p.describe(w, 0)
	case w == 0:
		if p.ran {
			return fmt.Errorf("block %d: two runs of zero blocks in a row", p.next)
		}
		p.inRun = true
		return nil
	default:
		p.ran = false
		return p.describe(1, BlockHash(w))
	}
}

func (p *blockParser) describe(n uint64, h BlockHash) error {
	left := blockCount(p.imageSize) - p.next
	if n == 0 || n > uint64(left) {
		return fmt.Errorf("block %d: a run of %d blocks where the image has %d more", p.next, n, left)
	}
	first := p.next
	p.next += int64(n)
	if p.fn != nil {
		p.fn(first, int64(n), h)
	}
	return nil
}

func (p *blockParser) finish() error {
	switch {
	case p.err != nil:
		return p.err
	case len(p.partial) > 0:
		return errors.New("its length is no multiple of 8")
	case p.header < 2 || p.inRun || p.next != blockCount(p.imageSize):
		return fmt.Errorf("it ends after %d of %d blocks", p.next, blockCount(p.imageSize))
	}
	return nil
}

// ScanBlocks reads the block index of an image of that size from r and calls
// fn for each block, or run of zero blocks (h == 0), in order. It holds no
// more than a buffer of it.
func ScanBlocks(r io.Reader, imageSize int64, fn func(first, n int64, h BlockHash)) error {
	p := &blockParser{imageSize: imageSize, fn: fn}
	if _, err := io.Copy(p, r); err != nil {
		return fmt.Errorf("reading a block index: %w", err)
	}
	if err := p.finish(); err != nil {
		return formatErrorf("reading a block index: %w", err)
	}
	return nil
}
