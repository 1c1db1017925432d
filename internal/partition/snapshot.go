package partition

import (
	"errors"
	"io"
	"io/fs"
)

// snapshot is the part of a disk that has been read and checked, in the form
// in which go-diskfs takes a disk. The library thus parses exactly the bytes
// that were checked, however the disk may change meanwhile.
type snapshot struct {
	head  []byte // from byte 0 on
	array []byte // a GPT's entries
	at    int64  // and where they lie
}

func newSnapshot(head []byte) *snapshot { return &snapshot{head: head} }

// ReadAt serves the two pieces; there is nothing else.
func (s *snapshot) ReadAt(p []byte, off int64) (int, error) {
	for _, piece := range []struct {
		data []byte
		at   int64
	}{{s.head, 0}, {s.array, s.at}} {
		if off >= piece.at && off-piece.at+int64(len(p)) <= int64(len(piece.data)) {
			return copy(p, piece.data[off-piece.at:]), nil
		}
	}
	return 0, io.ErrUnexpectedEOF
}

var errSnapshot = errors.New("internal error: only ReadAt works on a checked piece of a disk")

// Stat, Read, Seek and Close complete go-diskfs' backend.File.
func (s *snapshot) Stat() (fs.FileInfo, error)     { return nil, errSnapshot }
func (s *snapshot) Read([]byte) (int, error)       { return 0, errSnapshot }
func (s *snapshot) Seek(int64, int) (int64, error) { return 0, errSnapshot }
func (s *snapshot) Close() error                   { return nil }
