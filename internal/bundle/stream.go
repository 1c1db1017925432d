package bundle

import (
	"bytes"
	"fmt"
	"io"
)

// Stream reads a bundle front to back. Discard passes over n bytes, without
// fetching them where the source can. A source that does not know its end
// may pass beyond it: the next Read then returns io.EOF.
type Stream interface {
	io.Reader
	Discard(n int64) error
}

// NewStream makes a Stream of r. It skips by seeking when r can.
func NewStream(r io.Reader) Stream { return &readerStream{r} }

type readerStream struct{ io.Reader }

func (s *readerStream) Discard(n int64) error {
	if seeker, ok := s.Reader.(io.Seeker); ok {
		// A pipe is an *os.File too, but cannot seek.
		if _, err := seeker.Seek(n, io.SeekCurrent); err == nil {
			return nil
		}
	}
	_, err := io.CopyN(io.Discard, s.Reader, n)
	return err
}

// tarReader takes the entries of a bundle off a stream, in the order and
// under the names that its caller expects.
type tarReader struct {
	s    Stream
	pos  int64 // bytes read or passed over
	left int64 // of the current entry
	pad  int64
}

// next reads the header of the entry that must follow.
func (t *tarReader) next(name string) (size int64, err error) {
	if err := t.endEntry(); err != nil {
		return 0, err
	}
	var h [tarBlock]byte
	if err := t.header(&h, name); err != nil {
		return 0, err
	}
	return t.enter(&h, name)
}

// nextEither is next where one of two entries may follow. It tells whether it
// is the second.
func (t *tarReader) nextEither(first, second string) (isSecond bool, err error) {
	if err := t.endEntry(); err != nil {
		return false, err
	}
	var h [tarBlock]byte
	if err := t.header(&h, first); err != nil {
		return false, err
	}
	if name, _, _ := bytes.Cut(h[:100], []byte{0}); string(name) == second {
		_, err = t.enter(&h, second)
		return true, err
	}
	_, err = t.enter(&h, first)
	return false, err
}

func (t *tarReader) header(h *[tarBlock]byte, name string) error {
	if _, err := io.ReadFull(t.s, h[:]); err != nil {
		return readError("the tar header of "+name, err)
	}
	t.pos += tarBlock
	return nil
}

// enter begins the entry with that header.
func (t *tarReader) enter(h *[tarBlock]byte, name string) (size int64, err error) {
	size, err = parseTarHeader(h, name)
	if err != nil {
		return 0, formatErrorf("reading %s: %w", name, err)
	}
	t.left, t.pad = size, tarPadding(size)
	return size, nil
}

// nextOf is next for an entry whose size is known.
func (t *tarReader) nextOf(name string, want int64) error {
	size, err := t.next(name)
	if err == nil && size != want {
		err = formatErrorf("reading %s: the tar has %d bytes, the manifest says %d", name, size, want)
	}
	return err
}

// small reads a whole entry of at most limit bytes.
func (t *tarReader) small(name string, limit int64) ([]byte, error) {
	size, err := t.next(name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, formatErrorf("reading %s: %d bytes; at most %d", name, size, limit)
	}
	b := make([]byte, size)
	return b, t.readFull(b, name)
}

func (t *tarReader) readFull(b []byte, what string) error {
	if int64(len(b)) > t.left {
		return fmt.Errorf("internal error: reading %s beyond its entry", what)
	}
	n, err := io.ReadFull(t.s, b)
	t.left -= int64(n)
	t.pos += int64(n)
	if err != nil {
		return readError(what, err)
	}
	return nil
}

func (t *tarReader) skip(n int64, what string) error {
	if n > t.left {
		return fmt.Errorf("internal error: skipping %s beyond its entry", what)
	}
	if n == 0 {
		return nil
	}
	if err := t.s.Discard(n); err != nil {
		return readError(what, err)
	}
	t.left -= n
	t.pos += n
	return nil
}

// endEntry reads the padding of the current entry, which must be zero.
func (t *tarReader) endEntry() error {
	if t.left != 0 {
		return fmt.Errorf("internal error: %d bytes of a tar entry left unread", t.left)
	}
	pad := make([]byte, t.pad)
	t.pad = 0
	if _, err := io.ReadFull(t.s, pad); err != nil {
		return readError("the padding of a tar entry", err)
	}
	t.pos += int64(len(pad))
	if !isZero(pad) {
		return formatErrorf("reading the padding of a tar entry: it is not zero")
	}
	return nil
}

// end reads the end of the tar and makes sure that nothing follows: what no
// hash covers must not be there.
func (t *tarReader) end() error {
	if err := t.endEntry(); err != nil {
		return err
	}
	var end [tarEndSize]byte
	if _, err := io.ReadFull(t.s, end[:]); err != nil {
		return readError("the end of the tar", err)
	}
	if !isZero(end[:]) {
		return formatErrorf("reading the end of the tar: there is an entry that the manifest does not name")
	}
	n, err := io.ReadFull(t.s, end[:1])
	if n > 0 {
		return formatErrorf("reading the end of the tar: more data follows")
	}
	if err == io.EOF { // a wrapped one is a failure
		return nil
	}
	return fmt.Errorf("reading the end of the tar: %w", err)
}
