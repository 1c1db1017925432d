package preserve

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// ReadArchive opens a capture archive. It reads all of it once: every hash is
// checked, and that it is in its one canonical form. The contents are read
// from r later, when the tree is asked for them.
func ReadArchive(r io.ReaderAt, size int64) (Tree, error) {
	t, err := readArchive(r, size)
	if err != nil {
		return nil, failed("reading the capture archive", err)
	}
	return t, nil
}

var errArchive = errors.New("not a whole capture archive")

func readArchive(r io.ReaderAt, size int64) (*memTree, error) {
	raw := sha256.New()
	in := &position{r: io.TeeReader(io.NewSectionReader(r, 0, size), raw)}
	again := sha256.New()
	a := &archiveReader{tr: tar.NewReader(in), in: in, at: r, tree: newMemTree()}
	if err := a.read(again); err != nil {
		return nil, fmt.Errorf("%w: %w", errArchive, err)
	}
	if _, err := a.tr.Next(); err != io.EOF || in.n != size {
		return nil, fmt.Errorf("%w: something follows its end", errArchive)
	}
	if err := a.again.finish(); err != nil {
		return nil, err
	}
	if !bytes.Equal(raw.Sum(nil), again.Sum(nil)) {
		return nil, fmt.Errorf("%w: not in canonical form", errArchive)
	}
	a.tree.seal()
	return a.tree, nil
}

// position counts what was read.
type position struct {
	r io.Reader
	n int64
}

func (p *position) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	return n, err
}

type archiveReader struct {
	tr    *tar.Reader
	in    *position
	at    io.ReaderAt
	tree  *memTree
	again *archiveWriter // encodes what was read, to be compared
}

// read reads the archive and encodes it to again.
func (a *archiveReader) read(again io.Writer) error {
	if err := a.head(); err != nil {
		return err
	}
	var err error
	if a.again, err = newArchiveWriter(again, a.tree.host); err != nil {
		return err
	}
	for {
		h, err := a.tr.Next()
		if err != nil {
			return noEOF(err)
		}
		if h.Name == archiveEnd {
			return a.plain(h, archiveEnd, hex.EncodeToString(a.again.sum.Sum(nil))+"\n")
		}
		if a.again.n >= maxFound {
			return fmt.Errorf("more than %d entries", maxFound)
		}
		if err := a.entry(h); err != nil {
			return fmt.Errorf("%q: %w", h.Name, noEOF(err))
		}
	}
}

// head reads the first entry.
func (a *archiveReader) head() error {
	h, err := a.tr.Next()
	if err != nil {
		return err
	}
	if h.Name != archiveHead || h.Size > maxHostText {
		return fmt.Errorf("%.80q instead of %s", h.Name, archiveHead)
	}
	b, err := io.ReadAll(io.LimitReader(a.tr, h.Size))
	if err != nil {
		return noEOF(err)
	}
	if a.tree.host, err = decodeHost(b); err != nil {
		return fmt.Errorf("%s: %w", archiveHead, err)
	}
	return nil
}

// noEOF makes an end in the middle an error that nobody takes for the end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// plain checks that one of the archive's own entries says content.
func (a *archiveReader) plain(h *tar.Header, name, content string) error {
	if h.Name != name || h.Size != int64(len(content)) {
		return fmt.Errorf("%q instead of %s", h.Name, name)
	}
	b, err := io.ReadAll(io.LimitReader(a.tr, h.Size))
	if err != nil {
		return err
	}
	if string(b) != content {
		return fmt.Errorf("%s does not match", name)
	}
	return nil
}

func (a *archiveReader) entry(h *tar.Header) error {
	e, err := archiveEntry(h)
	if err != nil {
		return err
	}
	n := &memNode{entry: e, target: h.Linkname, xattrs: map[string]string{}}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, paxXattrPrefix); ok {
			if !carriedXattr(name) || len(v) > maxXattr {
				return fmt.Errorf("extended attribute %q", name)
			}
			n.xattrs[name] = v
		}
	}
	var sum [32]byte
	var content io.Reader
	if e.Kind == KindFile {
		b, err := hex.DecodeString(h.PAXRecords[paxHash])
		if err != nil || len(b) != len(sum) {
			return errors.New("no hash")
		}
		copy(sum[:], b)
		off, at := a.in.n, a.at
		n.open = func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(at, off, e.Size)), nil
		}
		content = a.tr
	}
	if e.Path <= a.again.last {
		return errors.New("not sorted")
	}
	if err := a.again.add(e, n.target, n.xattrs, content, sum); err != nil {
		return err
	}
	return a.tree.put(n)
}

func archiveEntry(h *tar.Header) (Entry, error) {
	name := strings.TrimSuffix(h.Name, "/")
	clean, err := Clean(name)
	if err != nil {
		return Entry{}, err
	}
	if clean != name || name == "." {
		return Entry{}, errors.New("not a clean path")
	}
	if h.Mode&^0o7777 != 0 || h.Uid < 0 || h.Gid < 0 || h.Uid >= noID || h.Gid >= noID || h.Size < 0 {
		return Entry{}, errors.New("mode, owner or size out of range")
	}
	e := Entry{Path: name, Mode: fs.FileMode(h.Mode) & fs.ModePerm, UID: h.Uid, GID: h.Gid}
	for bit, mode := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if h.Mode&bit != 0 {
			e.Mode |= mode
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		e.Kind, e.Size = KindFile, h.Size
	case tar.TypeDir:
		e.Kind = KindDir
	case tar.TypeSymlink:
		e.Kind = KindSymlink
	default:
		return Entry{}, fmt.Errorf("an entry of type %q", h.Typeflag)
	}
	return e, nil
}
