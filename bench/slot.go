package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// loopSlot makes a file of an image's content and a loop device on it: the
// slot that a peer writes to.
func (b *bench) loopSlot(name, content string) (device string, err error) {
	file := b.path(name)
	if err := refill(file, 0, content); err != nil {
		return "", err
	}
	return b.output("losetup", "--show", "-f", file)
}

func (b *bench) detach(device string) {
	if device != "" {
		_ = exec.Command("losetup", "-d", device).Run() // also when the run was interrupted
	}
}

// refill writes an image's whole content, zeros included, to a file or device
// at an offset, and waits for the disk. Without it the next to write would find
// holes where the one before punched them, and pay for them.
func refill(target string, off int64, content string) error {
	in, err := os.Open(content)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if _, err := out.WriteAt(buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return errors.Join(out.Sync(), out.Close())
}

// same reports whether target at off holds the content of a file.
func same(target string, off int64, content string) error {
	want, err := os.Open(content)
	if err != nil {
		return err
	}
	defer want.Close()
	got, err := os.Open(target)
	if err != nil {
		return err
	}
	defer got.Close()
	a, c := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(a)) {
		n, err := want.ReadAt(a, at)
		if n > 0 {
			if _, err := io.ReadFull(io.NewSectionReader(got, off+at, int64(n)), c[:n]); err != nil {
				return err
			}
			if !bytes.Equal(a[:n], c[:n]) {
				return fmt.Errorf("%s does not hold %s: it differs after byte %d", target, filepath.Base(content), at)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// size is the size of a file, or of all files below a directory.
func size(path string) (total int64, err error) {
	err = filepath.Walk(path, func(_ string, st os.FileInfo, err error) error {
		if err == nil && st.Mode().IsRegular() {
			total += st.Size()
		}
		return err
	})
	return total, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
