package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The framing is a POSIX ustar archive with one spelling: every byte of a
// header follows from the entry's name and size. Sizes of 8 GiB and more use
// the base-256 form that GNU tar, bsdtar, busybox and Go all read; pax
// headers, the alternative, would add entries that a strict reader must
// parse. A reader builds the header it expects and compares.
const (
	tarBlock    = 512
	tarEndSize  = 2 * tarBlock // two zero blocks, and nothing after them
	tarMaxOctal = 1<<33 - 1    // eleven octal digits

	// 1980-01-01: constant, and not 0, at which older GNU tar warns.
	tarTime = 315532800
)

// tarHeader returns the header of an entry.
func tarHeader(name string, size int64) [tarBlock]byte {
	var h [tarBlock]byte
	copy(h[0:100], name)
	copy(h[100:], "0000644\x00"+"0000000\x00"+"0000000\x00")
	putTarSize(h[124:136], size)
	copy(h[136:], fmt.Sprintf("%011o\x00", tarTime))
	copy(h[148:], "        ") // the checksum counts itself as spaces
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x00"+"0000000\x00")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func putTarSize(field []byte, size int64) {
	if size <= tarMaxOctal {
		copy(field, fmt.Sprintf("%011o\x00", size))
		return
	}
	for i := len(field) - 1; i > 0; i-- {
		field[i] = byte(size)
		size >>= 8
	}
	field[0] = 0x80
}

// parseTarHeader returns the size of the entry, which must have that name.
func parseTarHeader(h *[tarBlock]byte, name string) (int64, error) {
	size, err := parseTarSize(h[124:136])
	if err != nil {
		return 0, fmt.Errorf("tar header: %w", err)
	}
	if want := tarHeader(name, size); *h != want {
		got, _, _ := bytes.Cut(h[:100], []byte{0})
		if string(got) != name {
			return 0, fmt.Errorf("the tar has %q where %q must be", clip(string(got)), name)
		}
		return 0, errors.New("tar header: not as this format writes it")
	}
	return size, nil
}

func parseTarSize(field []byte) (int64, error) {
	if field[0] == 0x80 {
		var n int64
		for _, c := range field[1:] {
			if n >= 1<<54 {
				return 0, errors.New("size out of range")
			}
			n = n<<8 | int64(c)
		}
		return n, nil
	}
	n, err := strconv.ParseInt(string(field[:11]), 8, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("size %q is no octal number", field)
	}
	return n, nil
}

// tarPadding is the number of zero bytes after an entry of that size.
func tarPadding(size int64) int64 { return -size & (tarBlock - 1) }

// tarWriter writes entries whose sizes are known beforehand.
type tarWriter struct {
	w    io.Writer
	left int64 // of the entry being written
	pad  int64
}

func (t *tarWriter) entry(name string, size int64) error {
	if t.left != 0 {
		return fmt.Errorf("internal error: %d bytes missing before entry %s", t.left, name)
	}
	if err := t.padding(); err != nil {
		return err
	}
	h := tarHeader(name, size)
	t.left, t.pad = size, tarPadding(size)
	_, err := t.w.Write(h[:])
	return err
}

func (t *tarWriter) Write(b []byte) (int, error) {
	if int64(len(b)) > t.left {
		return 0, fmt.Errorf("internal error: %d bytes too many in a tar entry", int64(len(b))-t.left)
	}
	n, err := t.w.Write(b)
	t.left -= int64(n)
	return n, err
}

// file writes a whole entry.
func (t *tarWriter) file(name string, b []byte) error {
	if err := t.entry(name, int64(len(b))); err != nil {
		return err
	}
	_, err := t.Write(b)
	return err
}

// copy fills the entry from r; between files the kernel may share blocks.
func (t *tarWriter) copy(r io.Reader) error {
	n, err := io.Copy(t.w, io.LimitReader(r, t.left))
	t.left -= n
	if err == nil && t.left > 0 {
		err = fmt.Errorf("%d bytes missing: %w", t.left, io.ErrUnexpectedEOF)
	}
	return err
}

func (t *tarWriter) padding() error {
	_, err := t.w.Write(zeros[:t.pad])
	t.pad = 0
	return err
}

func (t *tarWriter) close() error {
	if t.left != 0 {
		return fmt.Errorf("internal error: %d bytes missing at the end of the tar", t.left)
	}
	if err := t.padding(); err != nil {
		return err
	}
	_, err := t.w.Write(zeros[:tarEndSize])
	return err
}
