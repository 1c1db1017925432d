package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// File is the new content of a file that is too large to hold in memory. It
// has a temporary name until Commit. Call Abort when done in any case: after
// Commit it does nothing.
type File struct {
	*os.File
	path string
	done bool
}

// Create starts to replace the file at path.
func Create(path string, perm os.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	a := &File{File: f, path: path}
	if err := f.Chmod(perm); err != nil {
		a.Abort()
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	return a, nil
}

// Commit makes the new content durable under its name. On an error the old
// content is still there.
func (a *File) Commit() error {
	if a.done {
		return errors.New("internal error: committing a file twice")
	}
	if err := a.commit(); err != nil {
		a.Abort()
		return fmt.Errorf("writing %s: %w", a.path, err)
	}
	a.done = true
	return nil
}

func (a *File) commit() error {
	// As in Write: the content must be durable before the name is.
	if err := a.Sync(); err != nil {
		return err
	}
	if err := a.Close(); err != nil {
		return err
	}
	// COMMIT POINT: after the rename a reader sees the new content.
	if err := os.Rename(a.Name(), a.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(a.path))
}

// Abort removes what was written, unless Commit has been called.
func (a *File) Abort() {
	if a.done {
		return
	}
	a.done = true
	a.Close()
	os.Remove(a.Name())
}
