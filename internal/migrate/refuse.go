package migrate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/partition"
)

// obstacleWords say what an obstacle is and what to do about it.
var obstacleWords = map[ObstacleKind]struct{ code, reason, next string }{
	ObstacleCrypt:     {"luks", "the root file system is encrypted (%s): the new system could not open it", ""},
	ObstacleRAID:      {"mdraid", "the root file system is on a software RAID (%s)", ""},
	ObstacleMultipath: {"multipath", "the root file system is on multipath storage (%s)", ""},
	ObstacleMapper:    {"device-mapper", "the root file system is on a device-mapper target that is not LVM (%s)", ""},
	ObstacleDisks:     {"disks", "the root file system is on more than one disk: %s", "move it to one (LVM: pvmove), and run the same command again"},
	ObstacleNoDisk:    {"no-disk", "the root file system is on no disk: %s", ""},
	ObstacleWhole:     {"no-table", "%s holds a file system or LVM without a partition table: there is nowhere to put an entry", ""},
}

// refuseDisk finds what makes it pointless to look further.
func (p *Plan) refuseDisk(s *Survey) {
	for _, o := range s.Obstacles {
		w := obstacleWords[o.Kind]
		p.refuse(w.code, w.next, w.reason, o.Detail)
	}
	switch {
	case s.AB != "":
		p.refuse("already-ab", "to update it: abupdate apply", "this is an A/B device already: %s", s.AB)
		return
	case s.Disk.Name == "" || len(p.Refusals) > 0:
		return
	case s.Disk.Sector != sector:
		p.refuse("4kn", "", "the disk has logical sectors of %d bytes; only 512 are supported", s.Disk.Sector)
	case s.Disk.Table == nil:
		p.refuseNoTable(s)
	case s.overlap() != "":
		p.refuse("bad-table", "", "%s: %s", s.Disk.Name, s.overlap())
	case len(s.Volumes) == 0:
		p.refuse("no-system", "check that this is the right disk", "the partition table of %s is empty: there is no system to migrate", s.Disk.Name)
	case s.Root() == nil:
		p.refuseNoRoot(s)
	}
}

// overlap says which partitions overlap, if any do: so does an A/B device in
// the trial of its migration, and so a disk that nobody should touch.
func (s *Survey) overlap() string {
	a, b, yes := s.Disk.Table.Overlap()
	if !yes {
		return ""
	}
	return fmt.Sprintf("partitions %d and %d overlap", a.Number, b.Number)
}

func (p *Plan) refuseNoTable(s *Survey) {
	switch whole := s.Disk.Whole; whole.Kind {
	case KindEmpty:
		p.refuse("no-system", "check that this is the right disk", "%s is empty: there is no system to migrate", s.Disk.Name)
	case KindFilesystem, KindLVM, KindLUKS, KindRAID, KindSwap:
		p.refuse("no-table", "", "%s holds %s without a partition table: there is nowhere to put an entry", s.Disk.Name, whole.Format)
	case KindUnknown, KindFAT, KindBIOSBoot, KindExtended:
		p.refuse("bad-table", "check that this is the right disk; look at it with: sfdisk --verify", "%s: %s", s.Disk.Name, s.Disk.TableError)
	}
}

// refuseNoRoot says why no root file system was found.
func (p *Plan) refuseNoRoot(s *Survey) {
	before := len(p.Refusals)
	p.refuseVolumes(s)
	if len(p.Refusals) == before {
		p.refuse("no-system", "check that this is the right disk", "%s has partitions, but no root file system of Linux was found on them", s.Disk.Name)
	}
}

// refuseSystem finds everything about the old system that speaks against its
// migration.
func (p *Plan) refuseSystem(s *Survey) {
	p.refuseVolumes(s)
	root := s.Root()
	switch {
	case !isLinux(root.Content.Format):
		p.refuse("filesystem", "", "the root file system is %s; only ext4 and xfs can be migrated", root.Content.Format)
	case root.ReadOnly:
		p.refuse("read-only", "mount it read-write and run the same command again", "the root file system is mounted read-only")
	}
	if s.Machine.SecureBoot {
		p.refuse("secure-boot", "switch Secure Boot off in the firmware's settings", "Secure Boot is on: the firmware would not start the new boot loader")
	}
	scheme := s.Disk.Table.Scheme
	if s.Machine.Firmware == UEFI && scheme == partition.MBR {
		p.refuse("uefi-mbr", "", "UEFI firmware with an MBR disk: only UEFI with GPT and BIOS can be migrated")
	}
	if scheme == partition.GPT && s.Disk.Table.Primary != partition.CopyGood {
		p.refuse("gpt-primary", "repair it with: sgdisk --load-backup or gdisk", "the primary GPT is damaged: GRUB reads no other")
	}
	if s.Machine.Firmware != UEFI {
		return
	}
	esp := s.esp()
	switch {
	case esp == nil:
		p.refuse("no-esp", "", "UEFI firmware, but the disk has no EFI system partition")
	case esp.Content.Free < 0:
		p.note("How much is free on the ESP is not known; prepare needs %s there.", size(espNeed))
	case esp.Content.Free < espNeed:
		p.refuse("esp-full", "remove what is not needed from it", "the ESP has %s free, and the new boot loader needs %s", size(esp.Content.Free), size(espNeed))
	}
}

func (s *Survey) esp() *Volume {
	for i := range s.Volumes {
		if s.isESP(&s.Volumes[i]) {
			return &s.Volumes[i]
		}
	}
	return nil
}

// refuseVolumes looks at everything on the disk: all of it is gone at the end,
// so nothing may be there that is not understood.
func (p *Plan) refuseVolumes(s *Survey) {
	for _, g := range s.Groups {
		p.refuseGroup(g)
	}
	for i := range s.Volumes {
		p.refuseVolume(s, &s.Volumes[i])
	}
}

func (p *Plan) refuseGroup(g Group) {
	if g.Problem != "" {
		p.refuse("volume", "rename one: vgrename", "volume group %s: %s", g.Name, g.Problem)
	}
	for _, uuid := range g.Missing {
		p.refuse("missing-pv", "bring the disk back, or take it out of the group: vgreduce --removemissing",
			"volume group %s: physical volume %s is missing, or on another disk", g.Name, uuid)
	}
	if g.Shared || slices.Contains(g.Status, "CLUSTERED") {
		p.refuse("shared-group", "", "volume group %s is shared by several machines", g.Name)
	}
	for _, status := range g.Status {
		if !slices.Contains([]string{"RESIZEABLE", "READ", "WRITE", "CLUSTERED"}, status) {
			p.refuse("group-status", "", "volume group %s has the status %s", g.Name, clip(status))
		}
	}
}

func (p *Plan) refuseVolume(s *Survey, v *Volume) {
	switch {
	case v.Logical() && v.Map == nil:
		// A missing member is said once, for the group.
		if !strings.Contains(v.Problem, " is missing") {
			p.refuse("lv-type", "", "logical volume %s: %s", v.Name, lvTypeWords(v.Problem))
		}
		return
	case v.Problem != "":
		p.refuse("volume", "", "%s: %s", v.Name, v.Problem)
		return
	}
	switch v.Content.Kind {
	case KindExtended:
		p.refuse("extended", "", "%s is an extended partition: the new table has no room for logical ones", v.Name)
	case KindLUKS:
		p.refuse("luks", "", "%s is encrypted (LUKS)", v.Name)
	case KindRAID:
		p.refuse("mdraid", "", "%s is a member of a software RAID", v.Name)
	case KindUnknown:
		p.refuse("unknown", "if it is nothing you need, wipe it (wipefs -a, or zeros over its first MiB)",
			"%s (%s) holds something that is not recognised, and it would be lost", v.Name, size(v.Size))
	case KindFilesystem:
		p.refuseFilesystem(s, v)
	case KindLVM:
		// Its group may have its metadata, and its volumes, on other disks.
		if !slices.ContainsFunc(s.Groups, func(g Group) bool { return slices.Contains(g.Members, v.Content.UUID) }) {
			p.refuse("unknown", "if it is nothing you need: pvremove", "%s is an LVM physical volume of no group that is known on this disk", v.Name)
		}
	case KindEmpty, KindFAT, KindSwap, KindBIOSBoot:
	}
}

func (p *Plan) refuseFilesystem(s *Survey, v *Volume) {
	switch {
	case v.Content.Format == "btrfs":
		p.refuse("btrfs", "", "%s is btrfs, which moves its blocks about", v.Name)
	case s.Live && v.Mount == "":
		p.refuse("not-mounted", "mount it, or wipe it if it is nothing you need",
			"%s (%s, %s) is not mounted: nobody can say what would be lost with it", v.Name, v.Content.Format, size(v.Size))
	}
}

func lvTypeWords(kind string) string {
	switch {
	case kind == "striped":
		return "it is striped; only linear volumes have one place on the disk"
	case kind == "thin" || kind == "thin-pool":
		return "it is thin (" + kind + "); only linear volumes have one place on the disk"
	case strings.HasPrefix(kind, "raid") || kind == "mirror":
		return "it is a RAID (" + kind + "); only linear volumes have one place on the disk"
	}
	return fmt.Sprintf("it is of the type %s; only linear volumes have one place on the disk", clip(kind))
}

// refuseBundle holds the new system against the machine.
func (p *Plan) refuseBundle(s *Survey) {
	if p.SlotSize%mib != 0 || p.SlotSize < 16*mib {
		p.refuse("slot-size", "give a multiple of 1MiB, at least 16MiB", "a slot size of %d bytes", p.SlotSize)
	}
	b := p.Bundle
	if b == nil {
		p.note("No bundle was given: whether the new system fits the slot and the CPU is not known.")
		return
	}
	if b.ImageSize > p.SlotSize {
		p.refuse("slot-size", fmt.Sprintf("give --slot-size %d or more", roundUp(b.ImageSize, mib)),
			"the image of %s %s has %s, and the slot would have %s", b.Product, b.Version, size(b.ImageSize), size(p.SlotSize))
	}
	if !b.Boot {
		p.refuse("no-boot-image", "ask the vendor for a bundle made with --boot", "the bundle brings no boot loader")
	}
	switch have := s.Machine.CPULevel; {
	case b.CPULevel > 0 && have == 0:
		p.note("The image needs a CPU of level x86-64-v%d; which one the machine has is not known.", b.CPULevel)
	case b.CPULevel > have:
		p.refuse("cpu-level", "", "the image needs a CPU of level x86-64-v%d, and this one has v%d", b.CPULevel, have)
	}
}

// size renders a byte count for people.
func size(n int64) string {
	switch {
	case n >= 10*gib:
		return fmt.Sprintf("%.0f GiB", float64(n)/float64(gib))
	case n >= gib:
		return fmt.Sprintf("%.1f GiB", float64(n)/float64(gib))
	case n >= 10*mib:
		return fmt.Sprintf("%.0f MiB", float64(n)/float64(mib))
	case n >= mib:
		return fmt.Sprintf("%.1f MiB", float64(n)/float64(mib))
	}
	return fmt.Sprintf("%d KiB", (n+1023)/1024)
}
