package migrate

import (
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/partition"
)

// Survey is what is known of a machine that might be migrated. It holds facts
// and no judgement: that is NewPlan's.
type Survey struct {
	// Live: this is the machine that the program runs on, not a disk image.
	Live    bool
	Machine Machine
	Disk    Disk
	// Volumes are the partitions by their place, each LVM partition followed
	// by the logical volumes that begin on it.
	Volumes []Volume
	Groups  []Group
	// Trees are the directories that an image would not bring back, as far as
	// they could be looked into.
	Trees []Tree
	// Carried are the patterns of files that the preserve policy carries.
	Carried []string
	// Obstacles are what lies between the root file system and one disk.
	Obstacles []Obstacle
	// AB says by what this is an A/B device already; empty when it is none.
	AB string
	// Unseen lists what could not be looked into.
	Unseen []string
}

// Machine is what surrounds the disk. Zero values stand for "not known".
type Machine struct {
	Firmware   Firmware
	SecureBoot bool
	CPULevel   int   // x86-64 microarchitecture level, 1 to 4
	RAM        int64 // bytes
	OS         string
	Kernel     string
	Cmdline    string
}

// Firmware is what starts the machine.
type Firmware uint8

// The kinds of firmware. The zero value: not known.
const (
	BIOS Firmware = iota + 1
	UEFI
)

// String returns the firmware's name.
func (f Firmware) String() string {
	switch f {
	case BIOS:
		return "BIOS"
	case UEFI:
		return "UEFI"
	}
	return "unknown firmware"
}

// Disk is the disk under the root file system.
type Disk struct {
	Name     string // device or path of the image; empty when there is not one disk
	Size     int64
	Sector   int
	Physical int // physical sector; 0: not known
	// Table is nil when there is none that can be used, and TableError says
	// why; Whole is then what lies on the disk itself.
	Table      *partition.Table
	TableError string
	Whole      Content
	Loader     Loader
}

// Loader is where the old system's boot loader lies.
type Loader struct {
	// GRUB: the boot code in the first sector is GRUB's.
	GRUB bool
	// CoreStart and CoreEnd are the bytes of its core.img; 0, 0: not found.
	CoreStart, CoreEnd int64
	// VendorDirs are the directories in EFI/ of the ESP.
	VendorDirs []string
}

// Volume is a partition or a logical volume.
type Volume struct {
	Name   string // "partition 2", or "group/volume"
	Device string // the kernel's name for it; live only
	Part   int    // number of the partition, or of the one that holds the group
	Group  string // of a logical volume
	Size   int64
	// Map is where it lies on the disk; nil when that cannot be said, and
	// Problem says why.
	Map     partition.DeviceMap
	Problem string
	Content Content
	// Mount is the mount point, live; on an image it is a guess, and Guess
	// says from what.
	Mount    string
	Guess    string
	ReadOnly bool
}

// Logical reports whether the volume is a logical one.
func (v *Volume) Logical() bool { return v.Group != "" }

// Start is the first byte of the volume on the disk; 0 when it has no map.
func (v *Volume) Start() int64 {
	if len(v.Map) == 0 {
		return 0
	}
	return v.Map[0].Disk
}

// Used is what a file system holds, in bytes.
func (v *Volume) Used() int64 { return max(0, v.Content.Size-v.Content.Free) }

// Group is an LVM volume group with a part on this disk.
type Group struct {
	Name    string
	Status  []string
	Shared  bool     // by several machines
	Members []string // UUIDs of its physical volumes
	Missing []string // those that are not on this disk
	// Problem is why its volumes cannot be told from others.
	Problem string
	// Free are the runs of the disk that belong to the group and to no volume.
	Free partition.DeviceMap
}

// Obstacle is something between the root file system and a single disk that
// the migration does not handle.
type Obstacle struct {
	Kind   ObstacleKind
	Detail string // the device
}

// ObstacleKind is what stands in the way.
type ObstacleKind uint8

// The obstacles. The zero value is invalid.
const (
	ObstacleCrypt     ObstacleKind = iota + 1 // dm-crypt
	ObstacleRAID                              // mdraid
	ObstacleMultipath                         // dm-multipath
	ObstacleMapper                            // another device-mapper target
	ObstacleDisks                             // several disks
	ObstacleNoDisk                            // no block device at all
	ObstacleWhole                             // a disk without partitions
)

// Tree is a directory with content that is not the old image's own.
type Tree struct {
	Path   string
	Volume string // name of the volume it is on
	Bytes  int64  // on the disk
	Files  int64
	// Root: it is the whole file system of the volume, not a directory in it.
	Root bool
	// Drop is the rule of a policy that leaves it behind; empty: carry it.
	Drop string
	// Partial: not all of it could be counted.
	Partial bool
}

// Root returns the volume of the root file system; nil when none was found.
func (s *Survey) Root() *Volume { return s.mounted("/") }

func (s *Survey) mounted(at string) *Volume {
	for i := range s.Volumes {
		if s.Volumes[i].Mount == at {
			return &s.Volumes[i]
		}
	}
	return nil
}

func (s *Survey) unseen(format string, args ...any) {
	s.Unseen = append(s.Unseen, fmt.Sprintf(format, args...))
}

// group returns the group with a name.
func (s *Survey) group(name string) *Group {
	for i := range s.Groups {
		if s.Groups[i].Name == name {
			return &s.Groups[i]
		}
	}
	return nil
}

// isLinux tells file systems that a slot, and so this program, can have.
func isLinux(format string) bool { return format == "ext4" || format == "xfs" }

// clip shortens foreign text.
func clip(s string) string {
	if s = strings.ToValidUTF8(s, "?"); len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
