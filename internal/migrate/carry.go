package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Directories of the kept volume while trees are brought into it.
const (
	carryingDir = ".abupdate-carrying" // not complete: thrown away
	carriedDir  = ".abupdate-carried"  // complete: what is in it goes to its place
)

// carry brings trees of the old system, from, into the volume that stays, to,
// each under its old path. complete is called when the copies are whole and
// durable: from then on they are never made again, whatever a cut leaves.
func carry(ctx context.Context, from, to *os.Root, j *Journal, complete func() error, progress func(int64)) error {
	if !j.Carried {
		if err := copyTrees(ctx, from, to, j, progress); err != nil {
			return err
		}
		if err := complete(); err != nil {
			return err
		}
	}
	return settleCarried(to)
}

func copyTrees(ctx context.Context, from, to *os.Root, j *Journal, progress func(int64)) error {
	for _, dir := range []string{carryingDir, carriedDir} {
		if err := to.RemoveAll(dir); err != nil {
			return err
		}
	}
	for _, t := range j.Trees {
		top, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(t.Path), "/"), "/")
		if _, err := to.Lstat(top); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			return withHint(fmt.Errorf("%w: %s cannot be brought to the data volume, which has a /%s of its own", ErrRefused, t.Path, top),
				"rename that one, and run the same command again")
		}
	}
	if err := to.Mkdir(carryingDir, 0o755); err != nil {
		return err
	}
	stage, err := to.OpenRoot(carryingDir)
	if err != nil {
		return err
	}
	defer stage.Close()
	c := newTreeCopier(from, stage, progress)
	for _, t := range j.Trees {
		if err := c.tree(ctx, t.Path); err != nil {
			return err
		}
	}
	if err := syncRoot(to); err != nil {
		return err
	}
	if err := to.Rename(carryingDir, carriedDir); err != nil {
		return err
	}
	return syncRoot(to)
}

// settleCarried moves complete copies to their places. What a cut has left of
// it is done by the next call.
func settleCarried(to *os.Root) error {
	dir, err := to.Open(carriedDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := to.Rename(path.Join(carriedDir, e.Name()), e.Name()); err != nil {
			return err
		}
	}
	if err := to.Remove(carriedDir); err != nil {
		return err
	}
	return syncRoot(to)
}

// syncRoot writes out the file system that root lies in.
func syncRoot(root *os.Root) error { return syncFS(root.Name()) }
