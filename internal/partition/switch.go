package partition

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// BootCodeSize is the part of the first sector that is the boot loader's; the
// disk signature and the table follow.
const BootCodeSize = diskSignatureAt

// SectorWrite is bytes for a place on the disk.
type SectorWrite struct {
	Off   int64
	Bytes []byte
}

// Switch is what turns the disk of a running system into one with the table
// of a migration's trial, whose partitions may overlap, and on BIOS with our
// boot code.
//
// Invariant: at every moment of Apply, and of writing Undo back, the disk has
// the old table or the trial one, with a primary that GRUB reads, and the boot
// code of the one loader or the other. The table is the trial one whenever the
// boot code is ours.
type Switch struct {
	// Prepare goes to sectors that nobody reads.
	Prepare []SectorWrite
	// Commit takes effect, each write for itself and in this order.
	Commit []SectorWrite
	// Undo is what lies now in each sector that changes. WriteSectors of it
	// takes the switch back.
	Undo []SectorWrite
}

// PlanSwitch prepares the switch to a trial table; it writes nothing. The
// scheme and the disk's id stay. bootCode, BootCodeSize bytes, replaces the
// boot loader's part of the first sector; nil keeps it, as on UEFI.
//
// After an Apply that was cut, it plans the same writes again, and Undo holds
// what had not been changed yet only: what counts is the Undo of the first
// plan, saved before its Apply.
func PlanSwitch(dev blockdev.Device, trial *Table, bootCode []byte) (*Switch, error) {
	s, err := planSwitch(dev, trial, bootCode)
	if err != nil {
		return nil, fmt.Errorf("planning the switch of the partition table: %w", err)
	}
	return s, nil
}

func planSwitch(dev blockdev.Device, trial *Table, bootCode []byte) (*Switch, error) {
	if bootCode != nil && len(bootCode) != BootCodeSize {
		return nil, fmt.Errorf("internal error: boot code of %d bytes", len(bootCode))
	}
	old, err := read(dev)
	if err != nil {
		return nil, err
	}
	if old.Scheme != trial.Scheme || old.DiskID != trial.DiskID {
		return nil, fmt.Errorf("from %v %s to %v %s: scheme and id of a disk never change: %w", old.Scheme, old.DiskID, trial.Scheme, trial.DiskID, ErrTable)
	}
	lba0 := make([]byte, sector)
	if _, err := dev.ReadAt(lba0, 0); err != nil {
		return nil, err
	}
	copy(lba0, bootCode)
	s := &Switch{}
	if trial.Scheme == MBR {
		if err := encodeMBR(lba0, trial, dev.Size()); err != nil {
			return nil, err
		}
		s.Commit = []SectorWrite{{0, lba0}}
	} else if err := s.planGPT(dev, old, trial, lba0, bootCode != nil); err != nil {
		return nil, err
	}
	return s, s.save(dev)
}

func (s *Switch) planGPT(dev blockdev.Device, old, trial *Table, lba0 []byte, withBootCode bool) error {
	if old.Primary != CopyGood {
		return fmt.Errorf("the primary GPT is %v, and GRUB reads no other: %w", old.Primary, ErrTable)
	}
	inForce, err := readCopy(dev, 1)
	if err != nil {
		return err
	}
	place := inForce.freePlace(dev, append(slices.Clone(old.Parts), trial.Parts...))
	if slices.Equal(old.Parts, trial.Parts) {
		place = inForce.arrayLBA // a switch that was cut: the same sectors again
	}
	if place == 0 {
		return fmt.Errorf("no %d free sectors for a second entry array, neither before the first partition nor behind the last one: %w", newArraySectors, ErrTable)
	}
	primary, backup, err := encodeGPT(dev, trial, place)
	if err != nil {
		return err
	}
	s.Prepare = []SectorWrite{{int64(primary.arrayLBA) * sector, primary.array}}
	s.Commit = []SectorWrite{{sector, primary.header}}
	if withBootCode {
		s.Commit = append(s.Commit, SectorWrite{0, lba0})
	}
	s.Commit = append(s.Commit, SectorWrite{int64(backup.arrayLBA) * sector, append(slices.Clone(backup.array), backup.header...)})
	return nil
}

// freePlace returns a sector where a second entry array can lie, next to the
// one in force and outside of partitions; 0 if there is none. The array in
// force stays whole: the way back is the header alone.
func (c *gptCopy) freePlace(dev blockdev.Device, parts []Part) uint64 {
	tail := uint64(dev.Size()/sector) - 1 - 2*newArraySectors
	for _, place := range append(arrayPlaces[:], tail) {
		end := place + newArraySectors
		free := place < tail || place == tail && c.alternate >= end
		free = free && (end <= c.arrayLBA || c.arrayLBA+c.arraySectors() <= place)
		for _, p := range parts {
			free = free && (int64(end)*sector <= p.Start || p.End() <= int64(place)*sector)
		}
		if free {
			return place
		}
	}
	return 0
}

// save fills Undo: of each write, in the order of the way back, those sectors
// that it changes. Boot code goes back before the table, as it came after it:
// our GRUB finds nothing by the old table.
func (s *Switch) save(dev blockdev.Device) error {
	order := slices.Clone(s.Commit)
	if i := slices.IndexFunc(order, func(w SectorWrite) bool { return w.Off == 0 }); i > 0 {
		order[0], order[i] = order[i], order[0]
	}
	for _, w := range append(order, s.Prepare...) {
		old := make([]byte, len(w.Bytes))
		if _, err := dev.ReadAt(old, w.Off); err != nil {
			return err
		}
		s.Undo = append(s.Undo, changed(w, old)...)
	}
	return nil
}

// changed returns the runs of sectors of old that w changes. Most of an entry
// array is the same zeros before and after, and a journal has little room.
func changed(w SectorWrite, old []byte) []SectorWrite {
	var out []SectorWrite
	for at := 0; at < len(old); at += sector {
		was := old[at : at+sector]
		if bytes.Equal(was, w.Bytes[at:at+sector]) {
			continue
		}
		off := w.Off + int64(at)
		if n := len(out); n > 0 && out[n-1].Off+int64(len(out[n-1].Bytes)) == off {
			out[n-1].Bytes = append(out[n-1].Bytes, was...)
			continue
		}
		out = append(out, SectorWrite{off, slices.Clone(was)})
	}
	return out
}

// Apply makes the switch. On a GPT the trial table counts before our boot code
// does; on an MBR both are one sector.
func (s *Switch) Apply(dev blockdev.Device) error {
	// A cut in here leaves the table in force as it is.
	if err := WriteSectors(dev, s.Prepare); err != nil {
		return err
	}
	// COMMIT POINT on BIOS: the Sync after the write of sector 0; from then on
	// our GRUB starts. A cut between two of these leaves the old loader with
	// the trial table, then a backup GPT that is stale or broken.
	return WriteSectors(dev, s.Commit)
}

// WriteSectors writes in the given order, each write durable before the next
// one, and reads them back. It may be repeated after an interruption.
func WriteSectors(dev blockdev.Device, writes []SectorWrite) error {
	for _, w := range writes {
		if err := writeSectors(dev, w); err != nil {
			return fmt.Errorf("writing %d sectors from sector %d: %w", len(w.Bytes)/sector, w.Off/sector, err)
		}
	}
	return nil
}

func writeSectors(dev blockdev.Device, w SectorWrite) error {
	if _, err := dev.WriteAt(w.Bytes, w.Off); err != nil {
		return err
	}
	if err := dev.Sync(); err != nil {
		return err
	}
	got := blockdev.AlignedBuffer(len(w.Bytes))
	if _, err := dev.ReadAt(got, w.Off); err != nil {
		return err
	}
	if !bytes.Equal(got, w.Bytes) {
		return ErrReadBack
	}
	return nil
}
