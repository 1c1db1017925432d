package migrate

import "github.com/abupdate/abupdate/internal/partition"

// keptPart tells the partitions that the new system goes on using.
func (s *Survey) keptPart(p partition.Part) bool {
	return p.Type == partition.TypeESP || p.Type == partition.TypeBIOSBoot
}

// placeEnd settles where slot b and data will be when the old system is gone.
func (a *attempt) placeEnd() {
	s, slot := a.pl.s, a.pl.p.SlotSize
	taken := []span{{a.boot.Start, a.boot.End()}}
	for _, p := range s.Disk.Table.Parts {
		if s.keptPart(p) {
			taken = append(taken, span{p.Start, p.End()})
		}
	}
	var fixed *span // where data begins, when that is not free to choose
	switch {
	case a.data.keep != nil:
		m := a.data.keep.Map[0]
		fixed = &span{m.Disk, m.DiskEnd()}
	case a.copied != nil:
		fixed = &span{a.copied.Start, a.copied.End()}
	}
	if fixed != nil {
		taken = append(taken, *fixed)
	}
	if a.tier == Carve {
		taken = append(taken, span{a.a.Start, a.a.End()})
	}
	free := s.usable().minus(taken)
	if a.tier == Gather {
		i := fit(free, slot)
		if i < 0 {
			a.refuse("no-room", "give a smaller --slot-size", "no piece of %s is left for slot a; the largest has %s", size(slot), size(largest(free).size()))
			return
		}
		a.a = Placement{Source: SourceDisk, Size: slot, Estimated: true}
		a.a.Start, free = cut(free, i, slot)
	}
	i := fit(free, slot)
	if i < 0 {
		a.refuse("no-room", "give a smaller --slot-size", "no piece of %s is left for slot b; the largest has %s", size(slot), size(largest(free).size()))
		return
	}
	a.b.from, free = cut(free, i, slot)
	a.b.to = a.b.from + slot
	if fixed != nil {
		a.dataSpan = *fixed
		for _, f := range free {
			if f.from == fixed.to { // it grows into what is free behind it
				a.dataSpan.to = max(fixed.to, f.aligned().to)
			}
		}
		return
	}
	if a.dataSpan = largest(free); a.dataSpan.size() < minDataSize {
		a.refuse("no-room", "give a smaller --slot-size", "%s are left for data, and it needs %s", size(a.dataSpan.size()), size(minDataSize))
	}
}

// estimate guesses at a disk that reads and writes 100 MB/s.
func estimate(p *Plan) *Time {
	const rate, reboots = 100_000_000, 120
	image, bundle := p.SlotSize, int64(0)
	if p.Bundle != nil {
		image, bundle = p.Bundle.ImageSize, p.Bundle.Compressed
	}
	if p.Tier == Gather {
		return &Time{Prepare: (abbootSize + 2*bundle) / rate, Down: reboots + (bundle+2*image)/rate}
	}
	// Written and read back; then, in the migrator, verified once more.
	return &Time{Prepare: 2 * (image + abbootSize) / rate, Down: reboots + image/rate}
}
