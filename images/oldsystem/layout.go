package oldsystem

import (
	"fmt"
	"slices"
	"strings"
)

const mib = int64(1) << 20

// Layout is how an installer has divided a disk.
type Layout struct {
	// Name is a plan's name of the layout, L1 to L5, with a letter where
	// there are several of a kind.
	Name string
	// UEFI: the device starts from the ESP, not from the first sector.
	UEFI bool
	// Release is the EL release that the system says it is.
	Release string

	size    int64  // of the disk, MiB
	table   string // sfdisk's script
	core    int64  // sector of core.img
	volumes []volume
	group   *group
}

// group is LVM on one partition.
type group struct {
	name     string
	at, size int64 // of its physical volume, MiB
}

// volume is a partition or a logical volume that holds something. What lies
// in a group is made in the order of the list.
type volume struct {
	mount string // a directory, or "swap"
	lv    string // name of the logical volume; "": a partition
	// [at, at+size) of the disk, MiB; at of a logical volume is computed.
	at, size int64
	part     int // number of the partition; its group's for a logical volume
	fs       string
}

// mkfs are programs with options that give what EL's give.
var mkfs = map[string][]string{
	// mkfs.xfs of EL7 (xfsprogs 4.5) has none of the later features.
	"xfs7": {"mkfs.xfs", "-q", "-m", "crc=1,finobt=0,rmapbt=0,reflink=0,bigtime=0,inobtcount=0", "-i", "sparse=0,nrext64=0"},
	"xfs9": {"mkfs.xfs", "-q", "-m", "crc=1,finobt=1,rmapbt=0,reflink=1,bigtime=1,inobtcount=1"},
	// mke2fs of EL7 (1.42.9).
	"ext4": {"mkfs.ext4", "-q", "-b", "4096", "-O", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,uninit_bg,dir_nlink,extra_isize"},
	"fat":  {"mkfs.fat", "-F", "16", "-n", "EFI"},
	"swap": {"mkswap"},
}

// uuid is the volume's, the same in each build.
func (l Layout) uuid(v volume) string {
	n := slices.IndexFunc(l.volumes, func(x volume) bool { return x.mount == v.mount })
	return fmt.Sprintf("01d00000-0000-4000-8000-%s%02d%08d", "00", n, l.size)
}

// spec is how fstab and the kernel's command line name the volume.
func (l Layout) spec(v volume) string {
	switch {
	case v.lv != "":
		return "/dev/mapper/" + l.group.name + "-" + v.lv
	case v.fs == "fat":
		return "LABEL=EFI"
	}
	return "UUID=" + l.uuid(v)
}

func (l Layout) on(mount string) (volume, bool) {
	i := slices.IndexFunc(l.volumes, func(v volume) bool { return v.mount == mount })
	if i < 0 {
		return volume{}, false
	}
	return l.volumes[i], true
}

const (
	peStart = 1 // MiB, LVM's default
	extent  = 4 // MiB, LVM's default
)

// Layouts are those that a migration knows. home is the room for /home, in
// MiB, where that is a volume of its own, and added to the root file system
// where it is not; that one has more on top.
func Layouts(home, more int64) []Layout {
	return []Layout{l1(home, more), l2(home+more, "xfs7"), l2(home+more, "ext4"), l3(home + more), l4(home, more), l5(home + more)}
}

// ByName returns one of Layouts.
func ByName(name string, home, more int64) (Layout, error) {
	for _, l := range Layouts(home, more) {
		if l.Name == name {
			return l, nil
		}
	}
	return Layout{}, fmt.Errorf("no layout %q", name)
}

// el7Group is what the installer of EL7 makes of the rest of a disk from a
// place on: swap, /home and the root file system.
func (l *Layout) el7Group(at, part, home, more int64) {
	const swap = 64
	root := 2560 + more
	l.group = &group{name: "centos", at: at, size: peStart + swap + home + root + extent}
	next := at + peStart
	for _, v := range []volume{
		{mount: "swap", lv: "swap", size: swap, fs: "swap"},
		{mount: "/home", lv: "home", size: home, fs: "xfs7"},
		{mount: "/", lv: "root", size: root, fs: "xfs7"},
	} {
		v.at, v.part = next, int(part)
		next += v.size
		l.volumes = append(l.volumes, v)
	}
	l.size = at + l.group.size + 1
}

// bootSize is the least that mkfs.xfs takes, and a bit.
const bootSize = 320

func l1(home, more int64) Layout {
	l := Layout{
		Name: "L1", Release: "7", core: 1,
		volumes: []volume{{mount: "/boot", at: 1, size: bootSize, part: 1, fs: "xfs7"}},
	}
	l.el7Group(1+bootSize, 2, home, more)
	l.size-- // an MBR has nothing behind the last partition
	l.table = fmt.Sprintf("label: dos\nlabel-id: 0x000c0001\nstart=1MiB,size=%dMiB,type=83,bootable\nsize=%dMiB,type=8e\n", bootSize, l.group.size)
	return l
}

// l2 has plain partitions: L2 with XFS, L2e with ext4.
func l2(home int64, fs string) Layout {
	const swap = 64
	root := 2560 + home
	l := Layout{
		Name: "L2", Release: "7", core: 1, size: 1 + bootSize + swap + root,
		table: fmt.Sprintf("label: dos\nlabel-id: 0x000c0002\nstart=1MiB,size=%dMiB,type=83,bootable\nsize=%dMiB,type=82\nsize=%dMiB,type=83\n", bootSize, swap, root),
		volumes: []volume{
			{mount: "/boot", at: 1, size: bootSize, part: 1, fs: fs},
			{mount: "swap", at: 1 + bootSize, size: swap, part: 2, fs: "swap"},
			{mount: "/", at: 1 + bootSize + swap, size: root, part: 3, fs: fs},
		},
	}
	if fs == "ext4" {
		l.Name = "L2e"
	}
	return l
}

func l3(home int64) Layout {
	root := 2816 + home
	return Layout{
		Name: "L3", Release: "7", core: 1, size: 1 + root,
		table:   fmt.Sprintf("label: dos\nlabel-id: 0x000c0003\nstart=1MiB,size=%dMiB,type=83,bootable\n", root),
		volumes: []volume{{mount: "/", at: 1, size: root, part: 1, fs: "ext4"}},
	}
}

// guidLVM is the type of GPT partitions with a physical volume.
const guidLVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"

func l4(home, more int64) Layout {
	const esp = 100
	l := Layout{
		Name: "L4", UEFI: true, Release: "7",
		volumes: []volume{
			{mount: "/boot/efi", at: 1, size: esp, part: 1, fs: "fat"},
			{mount: "/boot", at: 1 + esp, size: bootSize, part: 2, fs: "xfs7"},
		},
	}
	l.el7Group(1+esp+bootSize, 3, home, more)
	l.table = fmt.Sprintf("label: gpt\nlabel-id: 00000000-0000-4000-8000-0000000000c4\nstart=1MiB,size=%dMiB,type=U,name=\"EFI System Partition\"\nsize=%dMiB,type=L\nsize=%dMiB,type=%s\n", esp, bootSize, l.group.size, guidLVM)
	return l
}

// l5 is a cloud image of EL8 or EL9. It boots by BIOS and by UEFI; here BIOS.
func l5(home int64) Layout {
	const esp = 100
	root := 2816 + home
	return Layout{
		Name: "L5", Release: "8", core: 2048, size: 2 + esp + bootSize + root + 1,
		table: fmt.Sprintf("label: gpt\nlabel-id: 00000000-0000-4000-8000-0000000000c5\nstart=1MiB,size=1MiB,type=21686148-6449-6E6F-744E-656564454649\n"+
			"size=%dMiB,type=U,name=\"EFI System Partition\"\nsize=%dMiB,type=BC13C2FF-59E6-4262-A352-B275FD6F7172,name=boot\nsize=%dMiB,type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709,name=root\n", esp, bootSize, root),
		volumes: []volume{
			{mount: "/boot/efi", at: 2, size: esp, part: 2, fs: "fat"},
			{mount: "/boot", at: 2 + esp, size: bootSize, part: 3, fs: "xfs9"},
			{mount: "/", at: 2 + esp + bootSize, size: root, part: 4, fs: "xfs9"},
		},
	}
}

// Mounts are the mount points of the system's own file systems.
func (l Layout) Mounts() []string {
	var at []string
	for _, v := range l.volumes {
		if v.mount != "swap" {
			at = append(at, v.mount)
		}
	}
	slices.Sort(at)
	return at
}

// Size is the disk's, in MiB.
func (l Layout) Size() int64 { return l.size }

// GPT reports whether the partition table is one.
func (l Layout) GPT() bool { return strings.HasPrefix(l.table, "label: gpt") }

// HomeVolume reports whether /home is a file system for itself.
func (l Layout) HomeVolume() bool {
	_, ok := l.on("/home")
	return ok
}
