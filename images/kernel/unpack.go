package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// unpack extracts the kernel image and the named modules beside deb, into a
// directory named after the package and the wanted modules, so that a complete
// one is used again.
func unpack(ctx context.Context, deb string, modules []string) (*Kernel, error) {
	wanted := sha256.Sum256([]byte(strings.Join(modules, " ")))
	dir := strings.TrimSuffix(deb, ".deb") + "-" + hex.EncodeToString(wanted[:4])
	if k, err := find(dir); err == nil {
		return k, nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "unpack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := extract(ctx, deb, tmp, modules); err != nil {
		return nil, err
	}
	if _, err := find(tmp); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		// Another test process has just finished the same.
		return find(dir)
	}
	return find(dir)
}

// find opens an unpacked kernel.
func find(dir string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("%d kernel images in %s", len(images), dir)
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	return &Kernel{Release: release, Image: images[0], Modules: dir}, nil
}

func extract(ctx context.Context, deb, dir string, modules []string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := extractTar(pipe, dir, modules)
	// dpkg-deb must be able to finish writing before it is waited for.
	_, _ = io.Copy(io.Discard, pipe)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return readErr
}

func extractTar(r io.Reader, dir string, modules []string) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		base := path.Base(h.Name)
		name, isModule := strings.CutSuffix(base, ".ko")
		wanted := strings.HasPrefix(base, "vmlinuz-") || isModule && slices.Contains(modules, name)
		if h.Typeflag != tar.TypeReg || !wanted {
			continue
		}
		if err := writeFile(filepath.Join(dir, base), tr); err != nil {
			return err
		}
	}
}

func writeFile(name string, r io.Reader) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
