package preserve

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// inline is up to what size a file's content is taken into the plan. A larger
// one is read again by Apply, which fails if it has changed meanwhile: the
// migrator has 64 MiB in all.
const inline = 256 << 10

// Copy plans the old system's file, link, or directory (without its content)
// under the same path: mode, owner (translated by name), ACL and capabilities
// kept, setuid dropped with a note. What is missing in the old system is an
// error that is fs.ErrNotExist; a special file is refused.
func (p *Planner) Copy(path string) error { return p.CopyTo(path, path) }

// CopyTo is Copy to another path.
func (p *Planner) CopyTo(from, to string) error {
	from = strings.TrimPrefix(from, "/")
	e, err := p.old.Lstat(from)
	if err != nil {
		return failed("copying "+absolute(from), err)
	}
	op := &Op{Path: to, Mode: e.Mode & fs.ModePerm, UID: p.MapUID(e.UID), GID: p.MapGID(e.GID)}
	switch e.Kind {
	case KindFile:
		err = p.copyFile(op, e)
	case KindDir:
		op.Kind, op.Mode = OpMkdir, e.Mode&(fs.ModePerm|fs.ModeSetgid|fs.ModeSticky)
	case KindSymlink:
		op.Kind, op.Mode = OpSymlink, 0
		op.Target, err = p.old.Readlink(from)
	case KindOther:
		return p.Refuse(absolute(from), "a device node, socket or FIFO is not carried", "remove it, or leave it out with [[drop]]")
	}
	if err != nil {
		return failed("copying "+absolute(from), err)
	}
	if e.Kind == KindFile && e.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		p.Note(Warning, absolute(from), "carried without its setuid and setgid bits: a program that gives rights belongs into the image")
	}
	if e.Kind != KindSymlink {
		attrs, err := p.old.Xattrs(from)
		if err != nil {
			return failed("copying "+absolute(from), err)
		}
		op.Xattrs = p.mapXattrs(absolute(from), attrs)
	}
	return p.add(op)
}

func (p *Planner) copyFile(op *Op, e Entry) error {
	op.Kind = OpWrite
	f, err := openEntry(p.old, e)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	op.Data, err = io.ReadAll(io.TeeReader(io.LimitReader(f, inline+1), h))
	if err != nil {
		return err
	}
	op.Size = int64(len(op.Data))
	if op.Size > inline {
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		op.Source, op.Data, op.Size = e.Path, nil, op.Size+n
	}
	h.Sum(op.SHA256[:0])
	return nil
}

// mapXattrs keeps ACLs (their ids translated), capabilities and user
// attributes. The label is computed for the new system, never copied; what
// else there is (trusted., security.ima) belongs to the old system.
func (p *Planner) mapXattrs(subject string, attrs map[string]string) map[string]string {
	kept := map[string]string{}
	for name, v := range attrs {
		switch {
		case name == xattrACL || name == xattrDefaultACL:
			acl, err := p.mapACL(v)
			if err != nil {
				p.Note(Warning, subject, "its access control list is not carried: %v", err)
				continue
			}
			kept[name] = acl
		case name == xattrCapability:
			p.Note(Warning, subject, "carried with its file capabilities")
			kept[name] = v
		case strings.HasPrefix(name, xattrUserPrefix):
			kept[name] = v
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// The binary form of an ACL (linux/posix_acl_xattr.h): a version, then
// entries of tag, permissions and id, little-endian.
const (
	aclVersion = 2
	aclUser    = 0x02
	aclGroup   = 0x08
)

func (p *Planner) mapACL(v string) (string, error) {
	b := []byte(v)
	if len(b) < 4 || (len(b)-4)%8 != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return "", errors.New("not in the known form")
	}
	for e := b[4:]; len(e) > 0; e = e[8:] {
		id := int(binary.LittleEndian.Uint32(e[4:]))
		switch binary.LittleEndian.Uint16(e) {
		case aclUser:
			id = p.MapUID(id)
		case aclGroup:
			id = p.MapGID(id)
		default:
			continue
		}
		if id < 0 || id > 1<<32-2 {
			return "", fmt.Errorf("id %d", id)
		}
		binary.LittleEndian.PutUint32(e[4:], uint32(id))
	}
	return string(b), nil
}
