package debian

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Overlay lays the files below from over the tree: from/etc/hosts becomes
// /etc/hosts. Scripts end in .sh there and not in the system; keyfiles of
// NetworkManager are nobody else's to read.
func Overlay(files fs.FS, from, tree string) error {
	return fs.WalkDir(files, from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		switch filepath.Ext(name) {
		case ".sh":
			name, mode = strings.TrimSuffix(name, ".sh"), 0o755
		case ".nmconnection":
			mode = 0o600
		}
		return Write(filepath.Join(tree, name), data, mode)
	})
}

// Write replaces a file, also one that is a link in Debian.
func Write(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, data, mode)
}

// Units makes links among systemd's units: what each name leads to. Those that
// are there stay.
func Units(tree string, links map[string]string) error {
	for name, target := range links {
		path := filepath.Join(tree, "etc/systemd/system", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
