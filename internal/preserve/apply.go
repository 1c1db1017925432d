package preserve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
)

// Apply writes a plan into the new system, whose root is mounted at root. When
// it returns nil all of it is there and durable. After an error, or a cut, it
// may be called again, with this plan or a new one: each operation leaves the
// old entry or the new one, and the journal tells the next plan what was.
//
// The caller marks the new system as complete afterwards, never before.
func (p *Plan) Apply(ctx context.Context, root *os.Root) error {
	return p.apply(ctx, rootTarget{root})
}

func (p *Plan) apply(ctx context.Context, t target) error {
	a := &applier{target: t, plan: p}
	if err := a.room(); err != nil {
		return failed("writing the configuration", err)
	}
	if err := a.writeJournal(); err != nil {
		return failed("writing the journal of the restore", err)
	}
	for i := range p.Ops {
		if err := ctx.Err(); err != nil {
			return failed("writing the configuration", err)
		}
		if err := a.do(&p.Ops[i]); err != nil {
			return failed("writing "+absolute(p.Ops[i].Path), err)
		}
	}
	// Owner changes have not been synced one by one.
	if err := t.SyncAll(); err != nil {
		return failed("writing the configuration", err)
	}
	return nil
}

// Size is how many bytes of files a plan writes.
func (p *Plan) Size() int64 {
	var n int64
	for i := range p.Ops {
		n += p.Ops[i].Size
	}
	return n
}

type applier struct {
	target target
	plan   *Plan
}

// room refuses a set that cannot fit, before anything is written. What comes
// close is found out by ENOSPC.
func (a *applier) room() error {
	free, err := a.target.Free()
	if err != nil {
		return err
	}
	if need := a.plan.Size(); need > free {
		return fmt.Errorf("needs %d bytes, and the new system has room for %d", need, free)
	}
	return nil
}

// writeJournal makes the journal durable. A cut before its rename leaves the
// new system as it was, or as the last journal says.
func (a *applier) writeJournal() error {
	for dir := range parents(journalFile) {
		e, err := a.target.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := a.mkdir(&Op{Kind: OpMkdir, Path: dir, Mode: 0o755}); err != nil {
				return err
			}
		case err != nil:
			return err
		case e.Kind != KindDir:
			return fmt.Errorf("%s is a %s", absolute(dir), e.Kind)
		}
	}
	op := &Op{Kind: OpWrite, Path: journalFile, Mode: 0o600}
	if label := a.plan.journalLabel; label != "" {
		op.Xattrs = map[string]string{xattrLabel: label}
	}
	return a.replace(op, a.plan.writeJournal)
}

// parents yields the directories above a path, the topmost first.
func parents(name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range name {
			if c == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}

// do carries out one operation. Every directory on its way must be one: the
// plan has replaced foreign links, and what came afterwards is not followed.
func (a *applier) do(op *Op) error {
	for dir := range parents(op.Path) {
		e, err := a.target.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) && op.Kind == OpRemove {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Kind != KindDir {
			return fmt.Errorf("%s is a %s", absolute(dir), e.Kind)
		}
	}
	switch op.Kind {
	case OpWrite:
		return a.replace(op, func(w io.Writer) error { return a.content(op, w) })
	case OpMkdir:
		return a.mkdir(op)
	case OpSymlink:
		return a.symlink(op)
	case OpRemove:
		return a.remove(op)
	case OpOwner:
		return a.owner(op)
	}
	return fmt.Errorf("internal error: %v", op.Kind)
}

// tempName is the name under which a file comes into being. It is always the
// same for a path, so that the next run removes what a cut has left, and
// begins with a dot, so that no daemon takes it for configuration.
func tempName(name string) string {
	sum := sha256.Sum256([]byte(path.Base(name)))
	return path.Join(path.Dir(name), ".abupdate-"+hex.EncodeToString(sum[:8]))
}

// replace writes a file beside the old one and puts it in its place.
func (a *applier) replace(op *Op, content func(io.Writer) error) (err error) {
	temp := tempName(op.Path)
	if err := a.gone(temp); err != nil {
		return err
	}
	f, err := a.target.Create(temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = errors.Join(err, a.gone(temp))
		}
	}()
	if err := content(f); err != nil {
		return err
	}
	// In this order: chown takes the other two away.
	if err := f.Chown(op.UID, op.GID); err != nil {
		return err
	}
	if err := f.Chmod(op.Mode); err != nil {
		return err
	}
	for _, attr := range slices.Sorted(maps.Keys(op.Xattrs)) {
		if err := f.SetXattr(attr, op.Xattrs[attr]); err != nil {
			return err
		}
	}
	// A cut before this Sync leaves the old file; without it the name could
	// become durable before the content.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// COMMIT POINT of this file.
	if err := a.target.Rename(temp, op.Path); err != nil {
		return err
	}
	return a.target.Sync(path.Dir(op.Path))
}

// content writes an operation's content, and fails if it is no longer what
// was planned.
func (a *applier) content(op *Op, w io.Writer) error {
	if op.Source == "" {
		_, err := w.Write(op.Data)
		return err
	}
	f, err := a.plan.old.Open(op.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(f, op.Size+1))
	if err != nil {
		return err
	}
	if n != op.Size || !bytes.Equal(h.Sum(nil), op.SHA256[:]) {
		return fmt.Errorf("%s: %w", absolute(op.Source), errChanged)
	}
	return nil
}

// gone makes sure that there is nothing of that name.
func (a *applier) gone(name string) error {
	if err := a.target.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (a *applier) mkdir(op *Op) error {
	e, err := a.target.Lstat(op.Path)
	if err == nil && e.Kind != KindDir {
		if err := a.gone(op.Path); err != nil {
			return err
		}
		err = fs.ErrNotExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = a.target.Mkdir(op.Path)
	}
	if err != nil {
		return err
	}
	// A cut here leaves a directory that is root's alone; the next run goes on.
	if err := a.dress(op); err != nil {
		return err
	}
	if err := a.target.Sync(op.Path); err != nil {
		return err
	}
	return a.target.Sync(path.Dir(op.Path))
}

// dress gives a directory, or a file that stays, its owner, mode and attributes.
func (a *applier) dress(op *Op) error {
	if err := a.target.Chown(op.Path, op.UID, op.GID); err != nil {
		return err
	}
	if err := a.target.Chmod(op.Path, op.Mode); err != nil {
		return err
	}
	for _, attr := range slices.Sorted(maps.Keys(op.Xattrs)) {
		if err := a.target.SetXattr(op.Path, attr, op.Xattrs[attr]); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) symlink(op *Op) error {
	temp := tempName(op.Path)
	if err := a.gone(temp); err != nil {
		return err
	}
	if err := a.target.Symlink(op.Target, temp); err != nil {
		return err
	}
	if err := a.target.Chown(temp, op.UID, op.GID); err != nil {
		return err
	}
	if label, ok := op.Xattrs[xattrLabel]; ok {
		if err := a.target.SetXattr(temp, xattrLabel, label); err != nil {
			return err
		}
	}
	if err := a.target.Rename(temp, op.Path); err != nil {
		return err
	}
	return a.target.Sync(path.Dir(op.Path))
}

func (a *applier) remove(op *Op) error {
	if err := a.gone(op.Path); err != nil {
		return err
	}
	// Also when there was nothing: it may have been removed by a run whose
	// Sync failed.
	return a.target.Sync(path.Dir(op.Path))
}

// owner changes the owner of what is there. A cut in the middle may leave a
// program without its setuid bit; the journal knows that it had one.
func (a *applier) owner(op *Op) error {
	e, err := a.target.Lstat(op.Path)
	if err != nil {
		return err
	}
	if e.Kind != KindFile && e.Kind != KindDir {
		return a.target.Chown(op.Path, op.UID, op.GID)
	}
	return a.dress(op) // SyncAll makes it durable: there may be thousands
}
