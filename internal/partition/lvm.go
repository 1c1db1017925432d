package partition

import (
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// ErrNotPV is returned for a device that is no LVM physical volume.
var ErrNotPV = errors.New("no LVM physical volume")

// ErrLVM is wrapped by each error about LVM metadata that are damaged, or say
// what abupdate does not handle.
var ErrLVM = errors.New("unusable LVM metadata")

func lvmErrorf(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrLVM)...)
}

// PhysicalVolume is what an LVM2 physical volume says of itself.
type PhysicalVolume struct {
	UUID string // as LVM prints it, with dashes
	Size int64  // bytes, as its header has it
	// Group is the newest metadata found in its areas. It is nil when they
	// hold none: the volume is in no group, or other volumes of its group
	// carry the metadata.
	Group *VolumeGroup
}

// VolumeGroup is the metadata of a volume group, as committed.
type VolumeGroup struct {
	Name, UUID string
	Seqno      int64 // raised by each change: the highest is the newest
	Status     []string
	LockType   string // "" or "none": used by one machine
	ExtentSize int64  // bytes
	Members    []Member
	Volumes    []LogicalVolume
}

// Member is a physical volume as its group knows it.
type Member struct {
	Name    string // "pv0": only within the metadata
	UUID    string
	Start   int64 // bytes from the start of the physical volume to extent 0
	Extents int64
	Missing bool // LVM itself has given it up
}

// LogicalVolume is one logical volume.
type LogicalVolume struct {
	Name, UUID string
	Status     []string
	Visible    bool // not a hidden part of another volume
	Segments   []Segment
}

// Segment maps the extents [Start, Start+Extents) of a logical volume.
type Segment struct {
	Start, Extents int64
	// Type is LVM's word, but "linear" for a striped segment of one stripe,
	// which is how LVM stores it.
	Type string
	// Member and First are where a linear segment begins: the name of the
	// member, and an extent of it.
	Member string
	First  int64
}

// SegmentLinear is the one type that Map handles.
const SegmentLinear = "linear"

// Extents returns the length of a logical volume.
func (v *LogicalVolume) Extents() int64 {
	if len(v.Segments) == 0 {
		return 0
	}
	last := v.Segments[len(v.Segments)-1]
	return last.Start + last.Extents
}

// Volume returns the logical volume with a name.
func (g *VolumeGroup) Volume(name string) (*LogicalVolume, bool) {
	for i := range g.Volumes {
		if g.Volumes[i].Name == name {
			return &g.Volumes[i], true
		}
	}
	return nil, false
}

func (g *VolumeGroup) member(name string) (*Member, bool) {
	for i := range g.Members {
		if g.Members[i].Name == name {
			return &g.Members[i], true
		}
	}
	return nil, false
}

// ReadPV reads the label and the metadata of a physical volume, given the
// partition or disk that might be one. It returns ErrNotPV when it is none.
func ReadPV(dev blockdev.Device) (*PhysicalVolume, error) {
	pv, err := readPV(dev)
	if err != nil && !errors.Is(err, ErrNotPV) {
		return nil, fmt.Errorf("reading LVM metadata: %w", err)
	}
	return pv, err
}

func readPV(dev blockdev.Device) (*PhysicalVolume, error) {
	header, err := readPVHeader(dev)
	if err != nil {
		return nil, err
	}
	pv := &PhysicalVolume{UUID: header.uuid, Size: header.size}
	var failure error
	whole := false
	for _, area := range header.areas {
		group, err := readArea(dev, area)
		switch {
		case err != nil && failure == nil:
			failure = err
		case err != nil:
		case group == nil:
			whole = true
		default:
			whole = true
			if pv.Group == nil || group.Seqno > pv.Group.Seqno {
				pv.Group = group
			}
		}
	}
	// One whole area is enough, as it is for LVM: the second one is a copy.
	if failure != nil && !whole {
		return nil, failure
	}
	return pv, nil
}
