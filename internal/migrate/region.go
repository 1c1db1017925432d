package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
)

// errMoved: what prepare has placed is not there any more.
var errMoved = errors.New("not as prepare left it")

// region is a part of the disk that is the migration's, as a device.
type region struct {
	blockdev.Device
	name string
	file device // nil: the disk itself is written
	// unwritten are the parts that the file system takes for never written.
	unwritten []span
}

// Close closes the file that the region is in.
func (r *region) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// isWritten reports whether n bytes at off have been written as far as the
// file system knows. What lies there may be right even if not: a power cut
// came between the write and its note of it.
func (r *region) isWritten(off, n int64) bool {
	return !slices.ContainsFunc(r.unwritten, func(s span) bool { return s.from < off+n && off < s.to })
}

// touch writes zeros to what was never written of the first frame. The slot
// writer compares a part of it with the disk and does not write what is right
// there; to the file system it would remain unwritten.
func (r *region) touch() error {
	for _, u := range r.unwritten {
		u.to = min(u.to, bundle.MaxFrameSize)
		buf := blockdev.AlignedBuffer(1 << 20)
		for at := u.from; at < u.to; at += int64(len(buf)) {
			if _, err := r.WriteAt(buf[:min(int64(len(buf)), u.to-at)], at); err != nil {
				return err
			}
		}
	}
	return nil
}

// openRegion opens a region, given the file that would hold it and the survey
// of today. A region that is in no file must still be free, or a partition of
// the migration's own by now.
func (h *host) openRegion(s *Survey, disk device, name string, r Region, write bool) (*region, error) {
	path, err := h.findCarved(name)
	if err != nil {
		return nil, err
	}
	if path == "" {
		if !s.isFree(r) {
			return nil, fmt.Errorf("%s at byte %d of the disk: %w: the space is in use", name, r.Start, errMoved)
		}
		dev, err := blockdev.Section(disk, r.Start, r.Size)
		return &region{Device: plain{dev}, name: name}, err
	}
	open := h.open
	if write {
		open = h.openWrite
	}
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	out, err := h.openCarved(s, path, r)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	out.name, out.file = name, file
	carved := out.Device.(*carved)
	carved.file, carved.disk = file, disk
	out.Device = plain{carved}
	return out, nil
}

// findCarved returns the path of a carved file; "" when there is none.
func (h *host) findCarved(name string) (string, error) {
	for _, dir := range []string{carvedDir, carvedDirOther} {
		path := filepath.Join(h.root, dir, name)
		_, err := os.Lstat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// openCarved makes sure that a file still has the blocks of a region.
func (h *host) openCarved(s *Survey, path string, r Region) (*region, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pieces, unwritten, err := pieces(f, s.Root().Map)
	if err != nil {
		return nil, err
	}
	c := &carved{place: place{r, cutPieces(pieces, r.Start, r.End())}}
	out := &region{Device: c}
	next := r.Start
	for _, p := range c.pieces {
		if p.Disk != next {
			break
		}
		next = p.DiskEnd()
	}
	if next != r.End() {
		return nil, fmt.Errorf("%s: %w: it does not lie at bytes [%d, %d) of the disk", path, errMoved, r.Start, r.End())
	}
	for _, u := range cutPieces(unwritten, r.Start, r.End()) {
		out.unwritten = append(out.unwritten, span{u.Disk - r.Start, u.DiskEnd() - r.Start})
	}
	return out, nil
}

// pieces returns where the parts of a file lie on the disk, in the disk's
// order, and those of them that its file system takes for never written.
func pieces(f *os.File, volume partition.DeviceMap) (all, unwritten []partition.Run, err error) {
	onVolume, err := partition.FilePieces(f, partition.UnwrittenAllowed)
	if err != nil {
		return nil, nil, err
	}
	extents, err := partition.FileExtents(f)
	if err != nil {
		return nil, nil, err
	}
	var never partition.DeviceMap
	for _, e := range extents {
		if e.Flags&partition.ExtentUnwritten != 0 {
			never = append(never, partition.Run{Start: e.Logical, Disk: e.Physical, Len: e.Len})
		}
	}
	for _, m := range []struct {
		on partition.DeviceMap
		to *[]partition.Run
	}{{onVolume, &all}, {never, &unwritten}} {
		onDisk, err := m.on.Through(volume)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		for _, st := range onDisk.Stretches() {
			*m.to = append(*m.to, st.Pieces...)
		}
		slices.SortFunc(*m.to, func(a, b partition.Run) int { return int((a.Disk - b.Disk) >> 9) })
	}
	return all, unwritten, nil
}

// isFree reports whether a region is in no partition and no logical volume, or
// is just one partition: the migration's own, when the trial table is in
// force.
func (s *Survey) isFree(r Region) bool {
	if slices.ContainsFunc(s.Disk.Table.Parts, func(p partition.Part) bool { return p.Start == r.Start && p.Size == r.Size }) {
		return true
	}
	free := s.unpartitioned()
	for _, g := range s.Groups {
		for _, f := range g.Free {
			free = append(free, span{f.Disk, f.DiskEnd()})
		}
	}
	return slices.ContainsFunc(free, func(f span) bool { return f.from <= r.Start && r.End() <= f.to })
}

// checkUnchanged holds the machine of today against what the journal was made
// from: every address in it depends on that.
func (s *Survey) checkUnchanged(j *Journal) error {
	t := s.Disk.Table
	switch {
	case t == nil || s.Root() == nil:
		return fmt.Errorf("the disk's partition table or its root file system is not found any more: %w", errMoved)
	case t.DiskID != j.DiskID || s.Disk.Size != j.DiskSize:
		return fmt.Errorf("disk %s of %d bytes, not %s of %d: %w", t.DiskID, s.Disk.Size, j.DiskID, j.DiskSize, errMoved)
	}
	now := oldVolumes(s)
	for _, o := range j.Old {
		there := slices.ContainsFunc(now, func(v OldVolume) bool { return v.Name == o.Name && reflect.DeepEqual(v.Map, o.Map) })
		// The trial's table borrows the entry of a swap partition, for abboot.
		borrowed := o.Filesystem == "swap" && !slices.ContainsFunc(t.Parts, func(p partition.Part) bool {
			return slices.ContainsFunc(o.Map, func(e partition.Run) bool { return p.Start <= e.Disk && e.Disk < p.Start+p.Size })
		})
		if !there && !borrowed {
			return fmt.Errorf("%s has been moved, resized or removed: %w", o.Name, errMoved)
		}
	}
	for _, p := range t.Parts {
		if known, ok := j.Trial.Part(p.Number); ok && known.Start == p.Start && known.Size == p.Size {
			continue
		}
		// The trial's table has no room for the swap partition that was there.
		if !slices.ContainsFunc(j.Old, func(o OldVolume) bool { return len(o.Map) == 1 && o.Map[0].Disk == p.Start && o.Map[0].Len == p.Size }) {
			return fmt.Errorf("partition %d is new or has been moved: %w", p.Number, errMoved)
		}
	}
	return nil
}
