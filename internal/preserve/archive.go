package preserve

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// A capture archive is a tar file: archiveHead (the format and the machine's
// Host), the entries sorted by path, archiveEnd. Owners are numeric, times are zero, each file has its SHA-256
// and its extended attributes as PAX records, and archiveEnd holds a hash over
// all that. There is one archive for one content: reading encodes again and
// compares.
const (
	archiveHead    = "abupdate-capture.json"
	archiveEnd     = "abupdate-capture.sum"
	paxHash        = "ABUPDATE.sha256"
	paxXattrPrefix = "SCHILY.xattr."
)

// archiveWriter writes entries in the order of their paths.
type archiveWriter struct {
	tw   *tar.Writer
	sum  hash.Hash // over the head and all headers, and so over all contents
	last string
	n    int
}

func newArchiveWriter(w io.Writer, host Host) (*archiveWriter, error) {
	a := &archiveWriter{tw: tar.NewWriter(w), sum: sha256.New()}
	head, err := host.encode()
	if err != nil {
		return nil, err
	}
	fmt.Fprint(a.sum, head)
	return a, a.plain(archiveHead, head)
}

// plain writes one of the archive's own entries.
func (a *archiveWriter) plain(name, content string) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := a.tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(a.tw, content)
	return err
}

// add writes an entry. The content is size bytes long and has this hash.
func (a *archiveWriter) add(e Entry, target string, xattrs map[string]string, content io.Reader, sum [32]byte) error {
	if e.Path <= a.last {
		return fmt.Errorf("internal error: %q after %q", e.Path, a.last)
	}
	if e.Path == archiveHead || e.Path == archiveEnd {
		return errors.New("the archive has an entry of that name itself")
	}
	a.last = e.Path
	a.n++
	h, err := archiveHeader(e, target, xattrs, sum)
	if err != nil {
		return err
	}
	a.account(h)
	if err := a.tw.WriteHeader(h); err != nil {
		return err
	}
	if e.Kind != KindFile {
		return nil
	}
	check := sha256.New()
	n, err := io.Copy(io.MultiWriter(a.tw, check), io.LimitReader(content, e.Size+1))
	if err != nil {
		return err
	}
	if n != e.Size || !bytes.Equal(check.Sum(nil), sum[:]) {
		return errChanged
	}
	return nil
}

// errChanged is a file that changed while it was read.
var errChanged = errors.New("changed while it was read; try again")

func archiveHeader(e Entry, target string, xattrs map[string]string, sum [32]byte) (*tar.Header, error) {
	h := &tar.Header{
		Name: e.Path, Mode: int64(e.Mode & fs.ModePerm), Uid: e.UID, Gid: e.GID,
		ModTime: time.Unix(0, 0), Format: tar.FormatPAX, PAXRecords: map[string]string{},
	}
	for mode, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if e.Mode&mode != 0 {
			h.Mode |= bit
		}
	}
	switch e.Kind {
	case KindFile:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
		h.PAXRecords[paxHash] = hex.EncodeToString(sum[:])
	case KindDir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case KindSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case KindOther:
		return nil, fmt.Errorf("internal error: %s is a %s", absolute(e.Path), e.Kind)
	}
	for name, v := range xattrs {
		h.PAXRecords[paxXattrPrefix+name] = v
	}
	return h, nil
}

// account takes a header into the hash of the archive.
func (a *archiveWriter) account(h *tar.Header) {
	fmt.Fprintf(a.sum, "%q %c %o %d %d %d %q", h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.Linkname)
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		fmt.Fprintf(a.sum, " %q=%q", k, h.PAXRecords[k])
	}
	fmt.Fprintln(a.sum)
}

// finish completes the archive.
func (a *archiveWriter) finish() error {
	if err := a.plain(archiveEnd, hex.EncodeToString(a.sum.Sum(nil))+"\n"); err != nil {
		return err
	}
	return a.tw.Close()
}

// addFrom writes an entry as a tree has it.
func (a *archiveWriter) addFrom(t Tree, e Entry) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", absolute(e.Path), err)
		}
	}()
	if e.Kind == KindSymlink {
		target, err := t.Readlink(e.Path)
		if err != nil {
			return err
		}
		e.Mode = fs.ModePerm
		return a.add(e, target, nil, nil, [32]byte{})
	}
	attrs, err := t.Xattrs(e.Path)
	if err != nil {
		return err
	}
	attrs = archiveXattrs(attrs)
	if e.Kind == KindDir {
		return a.add(e, "", attrs, nil, [32]byte{})
	}
	var sum [32]byte
	f, err := openEntry(t, e)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	head, err := io.ReadAll(io.TeeReader(io.LimitReader(f, inline+1), h))
	if err != nil {
		return err
	}
	e.Size = int64(len(head))
	if e.Size <= inline {
		h.Sum(sum[:0])
		return a.add(e, "", attrs, bytes.NewReader(head), sum)
	}
	// Its hash goes before the content: read it twice.
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	e.Size += n
	h.Sum(sum[:0])
	again, err := openEntry(t, e)
	if err != nil {
		return err
	}
	defer again.Close()
	return a.add(e, "", attrs, io.LimitReader(again, e.Size), sum)
}

// archiveXattrs leaves what an archive may hold. Labels are not among it: the
// old policy's labels mean nothing to the new one.
func archiveXattrs(attrs map[string]string) map[string]string {
	kept := map[string]string{}
	for name, v := range attrs {
		if carriedXattr(name) {
			kept[name] = v
		}
	}
	return kept
}

func carriedXattr(name string) bool {
	return name == xattrACL || name == xattrDefaultACL || name == xattrCapability || strings.HasPrefix(name, xattrUserPrefix)
}
