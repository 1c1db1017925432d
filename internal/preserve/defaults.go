package preserve

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// defaultsFile is the list, in an image, of what its files were like when it
// was made. It tells what the customer has changed from what he never touched.
const defaultsFile = "usr/share/abupdate/defaults.json"

// maxDefaults bounds the list: a whole /etc of 20,000 files needs 2 MiB.
const maxDefaults = 16 << 20

// defaults is the decoded list.
type defaults struct {
	Format int               `json:"format"` // 1
	Covers []string          `json:"covers"` // patterns that were listed completely
	Files  map[string]string `json:"files"`  // path → fingerprint
}

// Defaults makes the list of an image: run it over the finished root file
// system and store the result there as /usr/share/abupdate/defaults.json.
// Patterns are absolute paths that may hold * and **.
func Defaults(t Tree, patterns []string) ([]byte, error) {
	d := defaults{Format: 1, Covers: []string{}, Files: map[string]string{}}
	for _, pattern := range patterns {
		clean, err := cleanPattern(pattern)
		if err != nil {
			return nil, failed("listing defaults", err)
		}
		d.Covers = append(d.Covers, absolute(clean))
		found, err := Find(t, clean)
		if err != nil {
			return nil, failed("listing defaults", err)
		}
		for _, e := range found {
			if e.Kind != KindFile && e.Kind != KindSymlink {
				continue
			}
			if d.Files[absolute(e.Path)], err = fingerprint(t, e); err != nil {
				return nil, failed("listing defaults", err)
			}
		}
	}
	b, err := json.MarshalIndent(d, "", " ")
	return append(b, '\n'), err
}

// maxFingerprint bounds what is hashed only to compare it: a sparse file of a
// terabyte costs nothing to make. No default is that large.
const maxFingerprint = 1 << 30

// tooLarge stands for the hash of such a file, and is equal to nothing.
const tooLarge = "large"

// fingerprint tells contents apart: of files by hash, of links by target.
func fingerprint(t Tree, e Entry) (string, error) {
	switch e.Kind {
	case KindFile:
		if e.Size > maxFingerprint {
			return tooLarge, nil
		}
		f, err := t.Open(e.Path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		h := sha256.New()
		// One byte more tells a file that has grown. (Copy's buffer is not
		// larger than the limit.)
		if _, err := io.Copy(h, io.LimitReader(f, e.Size+1)); err != nil {
			return "", fmt.Errorf("reading %s: %w", absolute(e.Path), err)
		}
		return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
	case KindSymlink:
		target, err := t.Readlink(e.Path)
		return "link:" + target, err
	case KindDir:
		return "dir", nil
	case KindOther:
	}
	return "other", nil
}

// readDefaults reads a tree's list. One that is missing covers nothing.
func readDefaults(t Tree) (*defaults, error) {
	b, err := ReadFile(t, defaultsFile, maxDefaults)
	if errors.Is(err, fs.ErrNotExist) {
		return &defaults{}, nil
	}
	if err != nil {
		return nil, failed("reading the list of defaults", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	d := &defaults{}
	if err := dec.Decode(d); err != nil {
		return nil, failed("reading "+absolute(defaultsFile), err)
	}
	if d.Format != 1 {
		return nil, &Refusal{Subject: absolute(defaultsFile), Reason: fmt.Sprintf("format %d is not known", d.Format), Next: "update abupdate"}
	}
	for i, c := range d.Covers {
		if d.Covers[i], err = cleanPattern(c); err != nil {
			return nil, failed("reading "+absolute(defaultsFile), err)
		}
	}
	return d, nil
}

// covers tells whether the list knows all files that match name.
func (d *defaults) covers(name string) bool { return matchAny(d.Covers, name) }

// origin is what is known of a file of the old system.
type origin uint8

const (
	_         origin = iota
	asShipped        // it is the old image's default
	changed          // it is not, or was not in the old image
	sameAsNew        // no list knows it, but the new image has the same
	unknown          // no list knows it, and the new image has another or none
)

// originOf compares a file of the old system with the old image's default
// or, where the old image has no list, with the new image's.
func (p *Planner) originOf(name string) (origin, error) {
	e, err := p.old.Lstat(name)
	if err != nil {
		return 0, failed("comparing "+absolute(name), err)
	}
	is, err := fingerprint(p.old, e)
	if err != nil {
		return 0, failed("comparing "+absolute(name), err)
	}
	if p.oldDefaults.covers(name) {
		if p.oldDefaults.Files[absolute(name)] == is {
			return asShipped, nil
		}
		return changed, nil
	}
	n, err := p.new.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return unknown, nil
	}
	if err != nil {
		return 0, failed("comparing "+absolute(name), err)
	}
	shall, err := fingerprint(p.new, n)
	if err != nil {
		return 0, failed("comparing "+absolute(name), err)
	}
	if is == shall && is != tooLarge {
		return sameAsNew, nil
	}
	return unknown, nil
}

// newTouched tells whether the new system's file is not its image's default:
// the new system of a rollback has had a life of its own.
func (p *Planner) newTouched(name string) bool {
	if !p.newDefaults.covers(name) {
		return false
	}
	e, err := p.new.Lstat(name)
	if err != nil {
		return p.newDefaults.Files[absolute(name)] != ""
	}
	is, err := fingerprint(p.new, e)
	return err == nil && is != p.newDefaults.Files[absolute(name)]
}

// Changed tells whether a file of the old system is the customer's rather
// than the old image's default, and notes when that is a guess. A default is
// left behind: the new image has its own. In the new system of a rollback the
// file may be the customer's older one, and so a default counts as a change.
func (p *Planner) Changed(name string) (bool, error) {
	name = strings.TrimPrefix(name, "/")
	o, err := p.originOf(name)
	if err != nil {
		return false, err
	}
	switch o {
	case asShipped:
		return p.newTouched(name), nil
	case changed:
		return true, nil
	case sameAsNew:
		return false, nil
	case unknown:
		if Exists(p.new, name) {
			p.Note(Warning, absolute(name), "differs from the new default; nothing tells whether it was changed on this device, so it is carried")
		}
		return true, nil
	}
	return false, fmt.Errorf("internal error: origin %d", o)
}
