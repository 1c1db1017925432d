package migrate

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/partition"
)

// blockUnit is the unit of everything that is carved: the block of every file
// system of today, and the physical sector of every disk.
const blockUnit = 4096

// carver gets contiguous runs of the disk out of a mounted file system: files
// whose blocks lie where a partition may be.
type carver struct {
	// volume is where the file system lies on the disk.
	volume partition.DeviceMap
	// usable is the part of the disk that partitions may have.
	usable span
	// budget is how many bytes a file may take of the file system, over all.
	budget func() (int64, error)
}

// place is a run of the disk that a file has: pieces of the file, in the
// order of the disk, without a gap.
type place struct {
	region Region
	pieces []partition.Run
}

// carve makes the file at path so that it has one contiguous run of n bytes.
// The rest of the file is given back. A file that is there already is kept if
// it has such a run.
//
// How a file system answers fallocate is its own affair. So it is asked for
// more and more in one file, up to the budget, until a run is long enough:
// what it has given stays taken meanwhile, so it has to look elsewhere.
func (c *carver) carve(path string, n int64) (place, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return place{}, err
	}
	defer f.Close()
	got, err := c.grow(f, n)
	if err != nil {
		return place{}, err
	}
	if err := giveBack(f, got); err != nil {
		return place{}, err
	}
	// The allocation must be durable before its address goes anywhere.
	if err := f.Sync(); err != nil {
		return place{}, err
	}
	again, ok, err := c.find(f, n)
	if err != nil || !ok || again.region != got.region {
		return place{}, fmt.Errorf("%s has moved from byte %d of the disk while it was carved: %w", path, got.region.Start, err)
	}
	return got, nil
}

// grow allocates until a run is long enough.
func (c *carver) grow(f *os.File, n int64) (place, error) {
	for want := n + align; ; {
		if got, ok, err := c.find(f, n); ok || err != nil {
			return got, err
		}
		st, err := f.Stat()
		if err != nil {
			return place{}, err
		}
		have := st.Size()
		budget, err := c.budget()
		if err != nil {
			return place{}, err
		}
		more := min(max(want-have, align), budget/blockUnit*blockUnit)
		if more < blockUnit {
			return place{}, errNoRun
		}
		err = unix.Fallocate(int(f.Fd()), 0, have, more)
		switch {
		case errors.Is(err, unix.ENOSPC):
			return place{}, errNoRun
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return place{}, fmt.Errorf("allocating %s for %s: %w", size(more), f.Name(), err)
		}
		want += max(want/2, 256*mib)
	}
}

// errNoRun: the file system does not give a contiguous run that is long
// enough.
var errNoRun = errors.New("no contiguous run")

// find looks for a run of n bytes among the blocks of a file: the smallest
// that will do, on a MiB if there is one.
func (c *carver) find(f *os.File, n int64) (place, bool, error) {
	onVolume, err := partition.FilePieces(f, partition.UnwrittenAllowed)
	if err != nil {
		return place{}, false, err
	}
	onDisk, err := onVolume.Through(c.volume)
	if err != nil {
		return place{}, false, fmt.Errorf("%s: %w", f.Name(), err)
	}
	for _, to := range []int64{align, blockUnit} {
		best := place{}
		stretches := onDisk.Stretches() // the longest first
		for _, s := range stretches {
			from := roundUp(max(s.Disk, c.usable.from), to)
			if end := min(s.Disk+s.Len, c.usable.to); end-from >= n {
				best = place{Region{from, n}, cutPieces(s.Pieces, from, from+n)}
			}
		}
		if best.pieces != nil {
			return best, true, nil
		}
	}
	return place{}, false, nil
}

// cutPieces returns the parts of pieces that lie in [from, to) of the disk.
func cutPieces(pieces []partition.Run, from, to int64) []partition.Run {
	var out []partition.Run
	for _, p := range pieces {
		start, end := max(p.Disk, from), min(p.DiskEnd(), to)
		if start < end {
			out = append(out, partition.Run{Start: p.Start + start - p.Disk, Disk: start, Len: end - start})
		}
	}
	return out
}

// giveBack frees the blocks of a file that are not a part of a place.
func giveBack(f *os.File, p place) error {
	keep := make([]span, len(p.pieces))
	end := int64(0)
	for i, r := range p.pieces {
		keep[i] = span{r.Start, r.End()}
		end = max(end, r.End())
	}
	end = roundUp(end, blockUnit)
	if err := f.Truncate(end); err != nil {
		return err
	}
	for _, hole := range (span{0, end}).minus(keep) {
		// Whole blocks only: of one that is kept in part nothing may change.
		from, to := roundUp(hole.from, blockUnit), hole.to/blockUnit*blockUnit
		if from >= to {
			continue
		}
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from); err != nil {
			return fmt.Errorf("giving back a part of %s: %w", f.Name(), err)
		}
	}
	return nil
}

// carved is a place as a device: it is written through the file system, which
// must know that its blocks are in use, and read past it, by disk address.
// That is how GRUB and the new kernel will read it.
type carved struct {
	place
	file device
	disk blockdev.Device
}

// WriteAt implements blockdev.Device.
func (c *carved) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange(off, int64(len(p)), c.region.Size); err != nil {
		return 0, err
	}
	done := 0
	at := c.region.Start + off
	for _, r := range cutPieces(c.pieces, at, at+int64(len(p))) {
		n, err := c.file.WriteAt(p[done:done+int(r.Len)], r.Start)
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

// ReadAt implements blockdev.Device.
func (c *carved) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange(off, int64(len(p)), c.region.Size); err != nil {
		return 0, err
	}
	return c.disk.ReadAt(p, c.region.Start+off)
}

func (c *carved) Sync() error     { return c.file.Sync() }
func (c *carved) Size() int64     { return c.region.Size }
func (c *carved) SectorSize() int { return sector }

// plain hides that zeros could be written faster: through a file that would
// be a hole, and its blocks somebody else's.
type plain struct{ blockdev.Device }
