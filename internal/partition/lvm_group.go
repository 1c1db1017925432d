package partition

import (
	"fmt"
	"slices"
)

// Caps of what a text may claim.
const (
	maxExtentSize = 1 << 40 // bytes
	maxExtents    = 1 << 32 // LVM counts them in 32 bits
	maxVolume     = 1 << 60 // bytes, so that sums of addresses cannot overflow
)

// parseGroup parses a metadata text: exactly one section, the volume group,
// and a few fields about the text itself.
func parseGroup(text []byte) (*VolumeGroup, error) {
	root, err := parseText(text)
	if err != nil {
		return nil, err
	}
	if v, ok := root.fields["contents"].(string); ok && v != "Text Format Volume Group" {
		return nil, lvmErrorf("contents %q", v)
	}
	if v, ok := root.fields["version"].(int64); ok && v != 1 {
		return nil, lvmErrorf("format version %d", v)
	}
	var g *VolumeGroup
	for _, name := range root.names {
		s, ok := root.fields[name].(*lvmSection)
		if !ok {
			continue
		}
		if g != nil {
			return nil, lvmErrorf("two groups, %q and %q", g.Name, name)
		}
		if g, err = decodeGroup(name, s); err != nil {
			return nil, fmt.Errorf("volume group %q: %w", name, err)
		}
	}
	if g == nil {
		return nil, lvmErrorf("no volume group in the text")
	}
	return g, nil
}

func decodeGroup(name string, s *lvmSection) (*VolumeGroup, error) {
	d := &lvmDecoder{s: s}
	g := &VolumeGroup{
		Name: name, UUID: d.uuid("id"), Seqno: d.integer("seqno", 0, 1<<32),
		Status: d.texts("status"), LockType: d.optionalText("lock_type"),
		ExtentSize: d.integer("extent_size", 1, maxExtentSize/sector) * sector,
	}
	if d.err != nil {
		return nil, d.err
	}
	for name, s := range d.sections("physical_volumes") {
		m, err := decodeMember(name, s, g.ExtentSize)
		if err != nil {
			return nil, fmt.Errorf("physical volume %q: %w", name, err)
		}
		g.Members = append(g.Members, m)
	}
	for name, s := range d.sections("logical_volumes") {
		v, err := decodeVolume(name, s, g)
		if err != nil {
			return nil, fmt.Errorf("logical volume %q: %w", name, err)
		}
		g.Volumes = append(g.Volumes, v)
	}
	return g, d.err
}

func decodeMember(name string, s *lvmSection, extentSize int64) (Member, error) {
	d := &lvmDecoder{s: s}
	m := Member{
		Name: name, UUID: d.uuid("id"),
		Start:   d.integer("pe_start", 0, maxVolume/sector) * sector,
		Extents: d.integer("pe_count", 0, maxExtents),
		Missing: slices.Contains(d.texts("flags"), "MISSING"),
	}
	if d.err == nil && m.Extents > (maxVolume-m.Start)/extentSize {
		return m, lvmErrorf("%d extents of %d bytes", m.Extents, extentSize)
	}
	return m, d.err
}

func decodeVolume(name string, s *lvmSection, g *VolumeGroup) (LogicalVolume, error) {
	d := &lvmDecoder{s: s}
	v := LogicalVolume{Name: name, UUID: d.uuid("id"), Status: d.texts("status")}
	v.Visible = slices.Contains(v.Status, "VISIBLE")
	count := d.integer("segment_count", 0, maxExtents)
	if d.err != nil {
		return v, d.err
	}
	for _, field := range s.names {
		section, ok := s.fields[field].(*lvmSection)
		if !ok {
			continue
		}
		if want := fmt.Sprintf("segment%d", len(v.Segments)+1); field != want {
			return v, lvmErrorf("section %q, not %q", field, want)
		}
		seg, err := decodeSegment(section, g)
		if err != nil {
			return v, fmt.Errorf("%s: %w", field, err)
		}
		if seg.Start != v.Extents() {
			return v, lvmErrorf("%s starts at extent %d, not %d", field, seg.Start, v.Extents())
		}
		v.Segments = append(v.Segments, seg)
		if v.Extents() > maxVolume/g.ExtentSize {
			return v, lvmErrorf("%d extents", v.Extents())
		}
	}
	if int64(len(v.Segments)) != count {
		return v, lvmErrorf("%d segments, and %d announced", len(v.Segments), count)
	}
	return v, nil
}

// decodeSegment looks into linear segments only. The others are reported by
// their type: whoever meets one refuses it.
func decodeSegment(s *lvmSection, g *VolumeGroup) (Segment, error) {
	d := &lvmDecoder{s: s}
	seg := Segment{
		Start: d.integer("start_extent", 0, maxExtents), Extents: d.integer("extent_count", 1, maxExtents),
		Type: d.text("type"),
	}
	if d.err != nil || seg.Type != "striped" {
		return seg, d.err
	}
	stripes := d.integer("stripe_count", 1, maxExtents)
	list := d.list("stripes")
	if d.err != nil {
		return seg, d.err
	}
	if stripes != 1 {
		return seg, nil
	}
	if len(list) != 2 {
		return seg, lvmErrorf("%d values for one stripe", len(list))
	}
	member, ok := list[0].(string)
	first, ok2 := list[1].(int64)
	if !ok || !ok2 {
		return seg, lvmErrorf("a stripe that is no name and number")
	}
	m, ok := g.member(member)
	if !ok {
		return seg, lvmErrorf("no physical volume %q", member)
	}
	if first < 0 || first > m.Extents || seg.Extents > m.Extents-first {
		return seg, lvmErrorf("extents [%d, %d) of the %d of %s", first, first+seg.Extents, m.Extents, member)
	}
	seg.Type, seg.Member, seg.First = SegmentLinear, member, first
	return seg, nil
}
