package migrate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/partition"
)

// maxStageMap bounds the stage map in memory: some ten thousand runs.
const maxStageMap = 4 << 20

// readStage reads where gather has laid the bundle and the archive's room, and
// makes sure that streaming to slot a does not overwrite what it streams from.
func readStage(disk blockdev.Device, j *Journal) (*StageMap, error) {
	s := j.Stage
	if s == nil {
		return nil, fmt.Errorf("%w: it tells of no stage to stream from", ErrJournal)
	}
	if s.Map.Size <= 0 || s.Map.Size > maxStageMap || s.Map.Start < j.Boot.Start || s.Map.End() > j.Boot.End() {
		return nil, fmt.Errorf("%w: a stage map of %d bytes at byte %d", ErrJournal, s.Map.Size, s.Map.Start)
	}
	b := make([]byte, s.Map.Size)
	if _, err := disk.ReadAt(b, s.Map.Start); err != nil {
		return nil, fmt.Errorf("reading the stage map: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != s.MapSHA256 {
		return nil, fmt.Errorf("%w: the stage map is not the one that prepare wrote", ErrJournal)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	stage := &StageMap{}
	if err := dec.Decode(stage); err != nil {
		return nil, fmt.Errorf("%w: the stage map: %w", ErrJournal, err)
	}
	for name, m := range map[string]partition.DeviceMap{"bundle": stage.Bundle, "archive": stage.Archive} {
		if err := checkStaged(m, j); err != nil {
			return nil, fmt.Errorf("%w: the stage map: %s: %w", ErrJournal, name, err)
		}
	}
	if mapSize(stage.Bundle) < s.BundleSize {
		return nil, fmt.Errorf("%w: a bundle of %d bytes in room for %d", ErrJournal, s.BundleSize, mapSize(stage.Bundle))
	}
	return stage, nil
}

// checkStaged wants runs without holes that lie on the disk, outside of abboot
// and of slot a.
func checkStaged(m partition.DeviceMap, j *Journal) error {
	at := int64(0)
	for _, r := range m {
		if r.Start != at || r.Len <= 0 || r.Disk < sector || r.Len > j.DiskSize || r.Disk > j.DiskSize-r.Len {
			return fmt.Errorf("%d bytes at byte %d of the disk", r.Len, r.Disk)
		}
		for _, taken := range []Region{j.Boot, j.A} {
			if r.Disk < taken.End() && taken.Start < r.DiskEnd() {
				return fmt.Errorf("bytes [%d, %d) of the disk are not free to be kept", r.Disk, r.DiskEnd())
			}
		}
		at = r.End()
	}
	if at == 0 {
		return fmt.Errorf("no room")
	}
	return nil
}

func mapSize(m partition.DeviceMap) int64 {
	if len(m) == 0 {
		return 0
	}
	return m[len(m)-1].End()
}

// stagedFile is a file that lies on the disk in pieces, without holes.
type stagedFile struct {
	disk blockdev.Device
	m    partition.DeviceMap
}

// each calls do for the pieces of the bytes [off, off+n) of the file.
func (f stagedFile) each(off int64, p []byte, do func(disk int64, piece []byte) error) error {
	i, _ := slices.BinarySearchFunc(f.m, off, func(r partition.Run, at int64) int {
		if r.End() <= at {
			return -1
		}
		return 1
	})
	for ; len(p) > 0 && i < len(f.m); i++ {
		r := f.m[i]
		n := min(int64(len(p)), r.End()-off)
		if err := do(r.Disk+off-r.Start, p[:n]); err != nil {
			return err
		}
		off, p = off+n, p[n:]
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f stagedFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.each(off, p, func(disk int64, piece []byte) error {
		got, err := f.disk.ReadAt(piece, disk)
		n += got
		return err
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// WriteAt implements io.WriterAt. It writes nothing behind the last piece.
func (f stagedFile) WriteAt(p []byte, off int64) (n int, err error) {
	if err := blockdev.CheckRange(off, int64(len(p)), mapSize(f.m)); err != nil {
		return 0, err
	}
	err = f.each(off, p, func(disk int64, piece []byte) error {
		put, err := f.disk.WriteAt(piece, disk)
		n += put
		return err
	})
	return n, err
}
