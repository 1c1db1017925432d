package migrate

import (
	"fmt"

	"github.com/abupdate/abupdate/internal/partition"
)

const (
	gptArraySize = 128 * 128 // bytes
	gptHead      = 34 * sector
	gptTail      = 33 * sector
	coreNeed     = 512 << 10 // a core.img with all its modules has half of it
)

// placeSwitch settles the write by which our GRUB takes charge.
func (a *attempt) placeSwitch() {
	s, sw := a.pl.s, &a.sw
	switch {
	case s.Disk.Table.Scheme == partition.MBR:
		sw.Write = "sector 0: boot code and partition table together"
	case s.Machine.Firmware == UEFI:
		sw.Write = "sector 1: the GPT header, pointing at a second entry array; then EFI/abupdate becomes the first of the firmware's boot entries"
	default:
		sw.Write = "sector 1: the GPT header, pointing at a second entry array; then the boot code in sector 0"
	}
	if s.Disk.Table.Scheme == partition.GPT {
		a.placeEntries()
	}
	if s.Machine.Firmware == UEFI {
		sw.Core = "EFI/abupdate/grubx64.efi on the ESP"
		return
	}
	sw.Core = "in abboot"
	if room, name := a.coreRoom(); room.size() >= coreNeed {
		sw.Core = fmt.Sprintf("in %s, from sector %d", name, room.from/sector)
	}
}

// coreRoom is the space behind the old core.img, which stays as it is. Where
// that one lies is not always known; then nothing next to it is safe.
func (a *attempt) coreRoom() (span, string) {
	s := a.pl.s
	end := s.Disk.Loader.CoreEnd
	if end == 0 {
		return span{}, ""
	}
	if s.Disk.Table.Scheme == partition.GPT {
		for _, p := range s.Disk.Table.Parts {
			if p.Type == partition.TypeBIOSBoot && p.Start < end && end <= p.End() {
				return span{end, p.End()}, fmt.Sprintf("partition %d (BIOS boot)", p.Number)
			}
		}
		return span{}, ""
	}
	room := span{end, s.Disk.Size}
	for _, p := range s.Disk.Table.Parts {
		room.to = min(room.to, p.Start)
	}
	return room, "the gap before the first partition"
}

// placeEntries finds room for a second GPT entry array, outside of everything
// that partitions may have.
func (a *attempt) placeEntries() {
	s := a.pl.s
	first, last := s.Disk.Size, int64(0)
	for _, p := range s.Disk.Table.Parts {
		first, last = min(first, p.Start), max(last, p.End())
	}
	tail := s.Disk.Size - gptTail - gptArraySize
	switch {
	case first >= gptHead+gptArraySize:
		a.sw.Entries = gptHead
	case last <= tail:
		a.sw.Entries = tail
	default:
		a.refuse("gpt-entries", "", "the GPT has no %d free sectors before the first partition or behind the last one for a second entry array", gptArraySize/sector)
	}
}
