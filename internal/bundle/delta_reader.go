package bundle

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/abupdate/abupdate/internal/bundle/delta"
)

// A delta, NAME.delta, stands where a bundle has NAME.blocks and NAME.zst; all
// integers little-endian:
//
//	 0  8  magic "ABDELTA1"
//	 8  8  size of the old image
//	16 32  SHA-256 of the old image
//	48  4  longest dictionary of a frame, in blocks of 4096 bytes
//	52  4  number of records: one for each frame that is not all zeros
//	56     records: length (4), CRC-32C (4), and so many bytes; in the order
//	       of the frames
//
// None of this is signed, and none of it has to be: what it leads to is
// compared with the signed hash of each frame.
const (
	deltaSuffix     = ".delta"
	deltaMagic      = "ABDELTA1"
	deltaHeaderSize = 56
	recordHeader    = 8
	maxDelta        = maxImageSize * 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// deltaHeader is the start of NAME.delta.
type deltaHeader struct {
	oldSize   int64
	oldSHA256 Digest
	dict      int64
	records   int64
}

func (h *deltaHeader) marshal() []byte {
	b := append([]byte(nil), deltaMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.oldSize))
	b = append(b, h.oldSHA256[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.dict))
	return binary.LittleEndian.AppendUint32(b, uint32(h.records))
}

func parseDeltaHeader(b []byte, records int64) (*deltaHeader, error) {
	if string(b[:8]) != deltaMagic {
		return nil, fmt.Errorf("it does not start with %q", deltaMagic)
	}
	size := binary.LittleEndian.Uint64(b[8:])
	h := &deltaHeader{oldSHA256: Digest(b[16:48]), dict: int64(binary.LittleEndian.Uint32(b[48:])), records: int64(binary.LittleEndian.Uint32(b[52:]))}
	if size > maxImageSize || h.dict > delta.MaxDict {
		return nil, fmt.Errorf("an old image of %d bytes and dictionaries of %d blocks are too large", size, h.dict)
	}
	if h.oldSize = int64(size); h.records != records {
		return nil, fmt.Errorf("%d records, where %d frames are not zeros", h.records, records)
	}
	return h, nil
}

// DeltaReader reads the records of a delta, in the order of the frames.
type DeltaReader struct {
	*deltaHeader
	ir   *ImageReader
	next int // frame
}

// OldSize is the size of the image that the delta was made from, in bytes.
func (d *DeltaReader) OldSize() int64 { return d.oldSize }

// OldSHA256 is what the maker of the delta says of the image that it was made
// from. It is not signed: it may spare a try, and decides nothing.
func (d *DeltaReader) OldSHA256() Digest { return d.oldSHA256 }

// Limits are what the record of a frame must keep to.
func (d *DeltaReader) Limits(f Frame) delta.Limits {
	return delta.Limits{Frame: blockCount(f.Len), Old: blockCount(d.oldSize), Dict: d.dict}
}

// readDelta reads the header of NAME.delta, whose tar header has been read.
func (ir *ImageReader) readDelta() error {
	name := ir.image.Name + deltaSuffix
	if ir.tar.left < deltaHeaderSize || ir.tar.left > maxDelta {
		return formatErrorf("reading %s: %d bytes", name, ir.tar.left)
	}
	var b [deltaHeaderSize]byte
	if err := ir.tar.readFull(b[:], name); err != nil {
		return err
	}
	h, err := parseDeltaHeader(b[:], nonZero(ir.index.Frames))
	if err != nil {
		return formatErrorf("reading %s: %w", name, err)
	}
	ir.delta = &DeltaReader{deltaHeader: h, ir: ir}
	return nil
}

func nonZero(frames []Frame) (n int64) {
	for _, f := range frames {
		if !f.Zero {
			n++
		}
	}
	return n
}

// maxRecord bounds the record of a frame: all of it as it is, and a code that
// grew.
func maxRecord(f Frame) int64 { return 2*f.Len + 64<<10 }

// ReadRecord reads the record of the next frame that is not all zeros into
// buf, which it replaces when it is too small, and returns the frame's index;
// io.EOF after the last. intact tells whether the record is as it was written.
func (d *DeltaReader) ReadRecord(buf []byte) (i int, record []byte, intact bool, err error) {
	i, n, sum, err := d.header()
	if err != nil {
		return 0, nil, false, err
	}
	if int64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	record = buf[:n]
	if err := d.ir.tar.readFull(record, d.what()); err != nil {
		return 0, nil, false, err
	}
	return i, record, crc32.Checksum(record, castagnoli) == sum, nil
}

// SkipRecord passes over the record of the next frame.
func (d *DeltaReader) SkipRecord() (i int, err error) {
	i, n, _, err := d.header()
	if err != nil {
		return 0, err
	}
	return i, d.ir.tar.skip(n, d.what())
}

func (d *DeltaReader) what() string { return d.ir.image.Name + deltaSuffix }

// header reads what stands before a record.
func (d *DeltaReader) header() (i int, n int64, sum uint32, err error) {
	frames := d.ir.index.Frames
	for d.next < len(frames) && frames[d.next].Zero {
		d.next++
	}
	if d.next == len(frames) {
		if d.ir.tar.left != 0 {
			return 0, 0, 0, formatErrorf("reading %s: %d bytes follow its last record", d.what(), d.ir.tar.left)
		}
		return 0, 0, 0, io.EOF
	}
	i = d.next
	var b [recordHeader]byte
	if d.ir.tar.left < recordHeader {
		return 0, 0, 0, formatErrorf("reading %s: it ends before the record of frame %d", d.what(), i)
	}
	if err := d.ir.tar.readFull(b[:], d.what()); err != nil {
		return 0, 0, 0, err
	}
	n, sum = int64(binary.LittleEndian.Uint32(b[:])), binary.LittleEndian.Uint32(b[4:])
	if n > maxRecord(frames[i]) || n > d.ir.tar.left {
		return 0, 0, 0, formatErrorf("reading %s: a record of %d bytes for frame %d", d.what(), n, i)
	}
	d.next++
	return i, n, sum, nil
}
