package migrate

import "github.com/abupdate/abupdate/internal/partition"

// wipeSize is how much of each begin of something old is zeroed, in bytes: a
// superblock of every kind lies in it, and LVM's label with its metadata.
const wipeSize = 1 << 20

// kept are the regions of the disk that finish must not change, besides the
// partition tables: abboot, slot a, what the firmware and the old boot code
// have, and customers' data unless they get a new place.
func (j *Journal) kept() []Region {
	kept := []Region{j.Boot, j.A}
	if j.DataMode != DataNew {
		kept = append(kept, j.Data)
	}
	for _, p := range j.End.Parts {
		if p.Number != j.BNumber && p.Number != j.DataNumber && p.Number != j.BootNumber && p.Number != j.ANumber {
			kept = append(kept, Region{p.Start, p.Size})
		}
	}
	return kept
}

// wipe returns what finish zeroes, so that nothing of the old system is ever
// recognised again: where its partitions, physical volumes and file systems
// begin, and where slot b does. Everything that is kept is left out, even if
// it lies in the middle.
func (j *Journal) wipe() []span {
	starts := []Region{j.B}
	for _, p := range j.Trial.Parts {
		starts = append(starts, Region{p.Start, p.Size})
	}
	for _, v := range j.Old {
		if len(v.Map) > 0 {
			starts = append(starts, Region{v.Map[0].Disk, v.Map[0].Len})
		}
	}
	var kept []span
	for _, r := range j.kept() {
		kept = append(kept, span{r.Start, r.End()})
	}
	var out []span
	for _, r := range starts {
		s := span{max(r.Start, j.firstUsable()), min(r.Start+min(r.Size, wipeSize), j.DiskSize)}
		if s.size() > 0 {
			out = append(out, s.minus(kept)...)
		}
	}
	return out
}

// firstUsable is the first byte that is in no partition table.
func (j *Journal) firstUsable() int64 {
	if j.End.Scheme == partition.GPT {
		return gptHead
	}
	return sector
}
