package partition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// Run says that the bytes [Start, Start+Len) of a file or volume lie at
// [Disk, Disk+Len) of what it lies on.
type Run struct {
	Start, Disk, Len int64
}

// End is the first byte of the file or volume behind the run.
func (r Run) End() int64 { return r.Start + r.Len }

// DiskEnd is the first byte of the disk behind the run.
func (r Run) DiskEnd() int64 { return r.Disk + r.Len }

// DeviceMap says where a file or volume lies: runs sorted by Start that do
// not overlap. What lies between them is a hole.
type DeviceMap []Run

// Map returns the map of a partition: one run.
func (p Part) Map() DeviceMap { return DeviceMap{{Disk: p.Start, Len: p.Size}} }

// Place is the bytes [Start, Start+Size) of the disk that a physical volume is
// on.
type Place struct{ Start, Size int64 }

// Map returns where a logical volume lies, given the places of the physical
// volumes by UUID. Only linear volumes whose every part is there have a map.
func (g *VolumeGroup) Map(v *LogicalVolume, places map[string]Place) (DeviceMap, error) {
	var m DeviceMap
	for _, seg := range v.Segments {
		if seg.Type != SegmentLinear {
			return nil, lvmErrorf("logical volume %s/%s: a segment of type %q", g.Name, v.Name, seg.Type)
		}
		member, ok := g.member(seg.Member)
		if !ok {
			return nil, fmt.Errorf("internal error: no physical volume %q in %s", seg.Member, g.Name)
		}
		place, ok := places[member.UUID]
		if !ok || member.Missing {
			return nil, lvmErrorf("logical volume %s/%s: physical volume %s is missing", g.Name, v.Name, member.UUID)
		}
		at, size := member.Start+seg.First*g.ExtentSize, seg.Extents*g.ExtentSize
		if blockdev.CheckRange(at, size, place.Size) != nil {
			return nil, lvmErrorf("logical volume %s/%s: bytes [%d, %d) of physical volume %s, which has %d", g.Name, v.Name, at, at+size, member.UUID, place.Size)
		}
		m = append(m, Run{Start: seg.Start * g.ExtentSize, Disk: place.Start + at, Len: size})
	}
	return m.merge(), nil
}

// Free returns the runs of a member's extents that no logical volume uses, by
// their place on the disk, given where the physical volume begins. Start is
// that of the extent within the volume.
func (g *VolumeGroup) Free(m Member, base int64) DeviceMap {
	type span struct{ from, to int64 }
	used := []span{}
	for _, v := range g.Volumes {
		for _, seg := range v.Segments {
			if seg.Member == m.Name {
				used = append(used, span{seg.First, seg.First + seg.Extents})
			}
		}
	}
	slices.SortFunc(used, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var free DeviceMap
	next := int64(0)
	for _, u := range append(used, span{m.Extents, m.Extents}) {
		if u.from > next {
			at := m.Start + next*g.ExtentSize
			free = append(free, Run{Start: at, Disk: base + at, Len: (u.from - next) * g.ExtentSize})
		}
		next = max(next, u.to)
	}
	return free
}

// merge joins runs that follow each other in the file and on the disk.
func (m DeviceMap) merge() DeviceMap {
	var out DeviceMap
	for _, r := range m {
		if n := len(out); n > 0 && out[n-1].End() == r.Start && out[n-1].DiskEnd() == r.Disk {
			out[n-1].Len += r.Len
			continue
		}
		out = append(out, r)
	}
	return out
}

// Through maps a file that lies on a volume to the disk that the volume lies
// on. Each byte of m must be on the volume.
func (m DeviceMap) Through(volume DeviceMap) (DeviceMap, error) {
	var out DeviceMap
	for _, r := range m {
		for r.Len > 0 {
			i, found := slices.BinarySearchFunc(volume, r.Disk, func(v Run, at int64) int {
				switch {
				case v.End() <= at:
					return -1
				case v.Start > at:
					return 1
				}
				return 0
			})
			if !found {
				return nil, fmt.Errorf("byte %d of the file is at byte %d of its volume, which is on no disk", r.Start, r.Disk)
			}
			v := volume[i]
			n := min(r.Len, v.End()-r.Disk)
			out = append(out, Run{Start: r.Start, Disk: v.Disk + r.Disk - v.Start, Len: n})
			r.Start, r.Disk, r.Len = r.Start+n, r.Disk+n, r.Len-n
		}
	}
	return out.merge(), nil
}

// Stretch is a contiguous piece of the disk: pieces of a file that lie next
// to each other there, in whatever order they have in the file.
type Stretch struct {
	Disk, Len int64
	Pieces    []Run // by Disk
}

// Stretches returns the contiguous pieces of the disk that a file has, the
// longest first. A partition can begin in one wherever a piece does.
func (m DeviceMap) Stretches() []Stretch {
	byDisk := slices.Clone(m)
	slices.SortFunc(byDisk, func(a, b Run) int { return cmp.Compare(a.Disk, b.Disk) })
	var out []Stretch
	for _, r := range byDisk {
		if n := len(out); n > 0 && out[n-1].Disk+out[n-1].Len == r.Disk {
			out[n-1].Len += r.Len
			out[n-1].Pieces = append(out[n-1].Pieces, r)
			continue
		}
		out = append(out, Stretch{Disk: r.Disk, Len: r.Len, Pieces: []Run{r}})
	}
	slices.SortStableFunc(out, func(a, b Stretch) int { return cmp.Compare(b.Len, a.Len) })
	return out
}
