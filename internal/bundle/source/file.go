package source

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
)

// file is a bundle in a regular file or on a block device. It stays open, so
// all streams read the same file even when another one takes its name.
type file struct {
	f       *os.File
	size    int64
	fetched atomic.Int64
}

// openFile opens path. What cannot seek (a FIFO, /dev/fd/N of a shell's
// process substitution) is read like standard input.
func openFile(path string) (Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the bundle: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening the bundle: %w", err)
	}
	if st.IsDir() {
		f.Close()
		return nil, fmt.Errorf("opening the bundle: %s: %w", path, syscall.EISDIR)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return newPipe(f, path, f), nil
	}
	return &file{f: f, size: size}, nil
}

func (s *file) Open(ctx context.Context, off int64) (Stream, error) {
	if off < 0 || off > s.size {
		return nil, fmt.Errorf("reading %s: offset %d is outside its %d bytes", s.Name(), off, s.size)
	}
	return &fileStream{ctx: ctx, src: s, off: off}, nil
}

func (s *file) Size() int64      { return s.size }
func (s *file) Rewindable() bool { return true }
func (s *file) Fetched() int64   { return s.fetched.Load() }
func (s *file) Name() string     { return s.f.Name() }
func (s *file) Close() error     { return s.f.Close() }

type fileStream struct {
	ctx context.Context // of the stream: io.Reader has no place for one
	src *file
	off int64
}

func (s *fileStream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.src.f.ReadAt(p, s.off)
	s.off += int64(n)
	s.src.fetched.Add(int64(n))
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (s *fileStream) Discard(n int64) error {
	if n < 0 || n > s.src.size-s.off {
		return fmt.Errorf("reading %s: passing over %d bytes at %d of %d: %w", s.src.Name(), n, s.off, s.src.size, io.ErrUnexpectedEOF)
	}
	s.off += n
	return nil
}

func (s *fileStream) Close() error { return nil }
