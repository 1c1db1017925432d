// Package atomicfile replaces small files so that a reader, or a power cut,
// sees the old content or the new content and nothing else.
//
// It is for files that a journalled Linux filesystem reads back. Files that
// GRUB reads need more (GRUB replays no journal): see package bootctl.
package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces the file at path with data. When it returns nil the new
// content is durable. On an error the old content is still there.
func Write(path string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	// A cut before this Sync leaves the old file and perhaps a stray temporary
	// one; without it the rename could become durable before the content.
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	// COMMIT POINT: after the rename a reader sees the new content.
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the rename itself durable: a cut before it may bring the old
// content back although Write's rename had returned.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
