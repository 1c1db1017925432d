package migrate

import (
	"github.com/abupdate/abupdate/internal/partition"
)

const (
	gptArraySize = 128 * 128 // bytes
	gptHead      = 34 * sector
	gptTail      = 33 * sector
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
	// Never next to the old core.img, which is the way back.
	sw.Core = "in abboot"
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
