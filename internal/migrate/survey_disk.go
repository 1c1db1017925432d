package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/partition"
)

// readDisk fills in everything that a disk says of itself: partition table,
// boot loader, LVM, file systems.
func (s *Survey) readDisk(dev blockdev.Device) error {
	s.Disk.Size, s.Disk.Sector = dev.Size(), dev.SectorSize()
	table, err := partition.Read(dev)
	if err != nil {
		if !errors.Is(err, partition.ErrTable) {
			return err
		}
		s.Disk.TableError = err.Error()
		s.Disk.Whole, err = content(dev)
		return err
	}
	s.Disk.Table = table
	if err := s.readLoader(dev); err != nil {
		return err
	}
	pvs := &physicalVolumes{groups: map[string]*partition.VolumeGroup{}, places: map[string]partition.Place{}, parts: map[string]int{}}
	parts := slices.Clone(table.Parts)
	slices.SortFunc(parts, func(a, b partition.Part) int { return cmp.Compare(a.Start, b.Start) })
	for _, p := range parts {
		v, err := s.readPartition(dev, p, pvs)
		if err != nil {
			return err
		}
		s.Volumes = append(s.Volumes, v)
	}
	return s.readGroups(dev, pvs)
}

// physicalVolumes are those found on the disk.
type physicalVolumes struct {
	groups map[string]*partition.VolumeGroup // by UUID, the newest metadata
	places map[string]partition.Place        // by UUID of the physical volume
	parts  map[string]int                    // its partition's number
}

func (s *Survey) readPartition(dev blockdev.Device, p partition.Part, pvs *physicalVolumes) (Volume, error) {
	v := Volume{Name: fmt.Sprintf("partition %d", p.Number), Part: p.Number, Size: p.Size, Map: p.Map()}
	part, err := blockdev.Section(dev, p.Start, p.Size)
	if err != nil {
		return v, err
	}
	switch p.Type {
	case "05", "0f", "85":
		v.Content = Content{Kind: KindExtended, Format: "extended"}
		return v, nil
	case partition.TypeBIOSBoot:
		v.Content = Content{Kind: KindBIOSBoot, Format: "bios-boot"}
		return v, nil
	}
	if v.Content, err = probe(part, part.Size()); err != nil {
		return v, fmt.Errorf("%s: %w", v.Name, err)
	}
	// A member of a mirror may also look like the LVM that is on the mirror.
	if v.Content.Kind == KindRAID {
		return v, nil
	}
	pv, err := partition.ReadPV(part)
	switch {
	case err == nil:
		v.Content = Content{Kind: KindLVM, Format: "LVM2", UUID: pv.UUID}
		if twin, twice := pvs.parts[pv.UUID]; twice {
			v.Problem = fmt.Sprintf("it is a copy of the physical volume on partition %d: nobody can say which one counts", twin)
			return v, nil
		}
		pvs.add(pv, p)
		return v, nil
	case errors.Is(err, partition.ErrLVM):
		v.Content = Content{Kind: KindLVM, Format: "LVM2"}
		v.Problem = err.Error()
		return v, nil
	case !errors.Is(err, partition.ErrNotPV):
		return v, fmt.Errorf("%s: %w", v.Name, err)
	}
	return v, nil
}

// content looks at a disk without a partition table.
func content(dev blockdev.Device) (Content, error) {
	if _, err := partition.ReadPV(dev); err == nil {
		return Content{Kind: KindLVM, Format: "LVM2"}, nil
	}
	return probe(dev, dev.Size())
}

func (p *physicalVolumes) add(pv *partition.PhysicalVolume, part partition.Part) {
	p.places[pv.UUID] = partition.Place{Start: part.Start, Size: part.Size}
	p.parts[pv.UUID] = part.Number
	if g := pv.Group; g != nil {
		if have := p.groups[g.UUID]; have == nil || g.Seqno > have.Seqno {
			p.groups[g.UUID] = g
		}
	}
}

// readGroups adds groups and logical volumes, in an order that does not
// depend on chance.
func (s *Survey) readGroups(dev blockdev.Device, pvs *physicalVolumes) error {
	groups := make([]*partition.VolumeGroup, 0, len(pvs.groups))
	for _, g := range pvs.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *partition.VolumeGroup) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
	})
	for _, g := range groups {
		group := Group{Name: g.Name, Status: g.Status, Shared: g.LockType != "" && g.LockType != "none"}
		if s.group(g.Name) != nil {
			group.Problem = "another volume group on this disk has the same name"
		}
		part := 0
		for _, m := range g.Members {
			group.Members = append(group.Members, m.UUID)
			place, here := pvs.places[m.UUID]
			if !here || m.Missing {
				group.Missing = append(group.Missing, m.UUID)
				continue
			}
			if part == 0 {
				part = pvs.parts[m.UUID]
			}
			group.Free = append(group.Free, g.Free(m, place.Start)...)
		}
		s.Groups = append(s.Groups, group)
		var volumes []Volume
		for i := range g.Volumes {
			v, err := readLogical(dev, g, &g.Volumes[i], pvs)
			if err != nil {
				return err
			}
			if v != nil {
				v.Part = part
				volumes = append(volumes, *v)
			}
		}
		slices.SortStableFunc(volumes, func(a, b Volume) int { return cmp.Compare(a.Start(), b.Start()) })
		s.insertBehind(part, volumes)
	}
	return nil
}

// readLogical returns a logical volume. Hidden ones are parts of others; they
// count only by the type of those.
func readLogical(dev blockdev.Device, g *partition.VolumeGroup, lv *partition.LogicalVolume, pvs *physicalVolumes) (*Volume, error) {
	if !lv.Visible {
		return nil, nil //nolint:nilnil // nothing to show
	}
	v := &Volume{Name: g.Name + "/" + lv.Name, Group: g.Name, Size: lv.Extents() * g.ExtentSize}
	m, err := g.Map(lv, pvs.places)
	if err != nil {
		v.Problem = problemOf(lv, err)
		v.Content = Content{Kind: KindUnknown}
		return v, nil
	}
	v.Map = m
	if v.Content, err = probe(&mapped{dev, m}, v.Size); err != nil {
		return nil, fmt.Errorf("%s: %w", v.Name, err)
	}
	return v, nil
}

// problemOf names the type of a volume that cannot be mapped.
func problemOf(lv *partition.LogicalVolume, err error) string {
	for _, seg := range lv.Segments {
		if seg.Type != partition.SegmentLinear {
			return seg.Type
		}
	}
	return err.Error()
}

// insertBehind puts logical volumes behind the partition that they begin on.
func (s *Survey) insertBehind(part int, volumes []Volume) {
	at := slices.IndexFunc(s.Volumes, func(v Volume) bool { return v.Part == part && !v.Logical() }) + 1
	for at < len(s.Volumes) && s.Volumes[at].Logical() && s.Volumes[at].Part == part {
		at++
	}
	s.Volumes = slices.Insert(s.Volumes, at, volumes...)
}

// mapped reads a volume by its map.
type mapped struct {
	dev blockdev.Device
	m   partition.DeviceMap
}

// ReadAt implements io.ReaderAt.
func (v *mapped) ReadAt(p []byte, off int64) (int, error) {
	want, err := partition.DeviceMap{{Start: 0, Disk: off, Len: int64(len(p))}}.Through(v.m)
	if err != nil {
		return 0, io.EOF
	}
	for _, r := range want {
		if _, err := v.dev.ReadAt(p[r.Start:r.End()], r.Disk); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
