package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Entry is one line of a drawing of the disk: a partition, something within
// one, or free space.
type Entry struct {
	// Number of the table's entry; 0 for what has none.
	Number int    `json:"number,omitempty"`
	Name   string `json:"name"`
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
	Holds  string `json:"holds,omitempty"`
	// Within: it lies inside of the last entry before it that does not.
	Within bool `json:"within,omitempty"`
	// New: the migration makes it.
	New bool `json:"new,omitempty"`
	// Estimated: the place is an example.
	Estimated bool `json:"estimated,omitempty"`
}

// drawNow draws the disk as it is.
func drawNow(s *Survey) []Entry {
	if s.Disk.Table == nil {
		return nil
	}
	var entries []Entry
	for i := range s.Volumes {
		entries = append(entries, drawVolume(s, &s.Volumes[i]))
	}
	for _, g := range s.Groups {
		for _, r := range g.Free {
			entries = append(entries, Entry{Name: "free", Start: r.Disk, Size: r.Len, Holds: "in volume group " + g.Name, Within: true})
		}
	}
	for _, gap := range s.unpartitioned() {
		if gap.size() >= align {
			entries = append(entries, Entry{Name: "free", Start: gap.from, Size: gap.size()})
		}
	}
	return sorted(entries)
}

// sorted puts entries in the order of the disk, the enclosing one first.
func sorted(entries []Entry) []Entry {
	slices.SortStableFunc(entries, func(a, b Entry) int {
		switch {
		case a.Within == b.Within || a.Start != b.Start:
			return cmp.Compare(a.Start, b.Start)
		case a.Within:
			return 1
		}
		return -1
	})
	return entries
}

func drawVolume(s *Survey, v *Volume) Entry {
	e := Entry{Name: v.Name, Start: v.Start(), Size: v.Size, Holds: holds(s, v), Within: v.Logical()}
	if !v.Logical() {
		e.Number = v.Part
		return e
	}
	if e.Start == 0 { // it has no one place: draw it where its group is
		p, _ := s.Disk.Table.Part(v.Part)
		e.Start = p.Start
	}
	return e
}

// holds says in a few words what a volume is.
func holds(s *Survey, v *Volume) string {
	c := v.Content
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch c.Kind {
	case KindUnknown:
		if v.Problem != "" {
			add("%s", clip(v.Problem))
		} else {
			add("not recognised")
		}
	case KindEmpty:
		add("empty")
	case KindFilesystem:
		add("%s", c.Format)
		if v.Mount != "" {
			add("%s", v.Mount)
		}
		if c.Free >= 0 {
			add("%s free", size(c.Free))
		}
	case KindFAT:
		add("vfat")
		if s.isESP(v) {
			add("EFI system partition")
		}
	case KindLVM:
		add("LVM")
		for _, g := range s.Groups {
			if slices.ContainsFunc(s.Volumes, func(l Volume) bool { return l.Group == g.Name && l.Part == v.Part }) {
				add("%s", g.Name)
			}
		}
	case KindSwap, KindLUKS, KindRAID, KindBIOSBoot, KindExtended:
		add("%s", c.Format)
	}
	if len(v.Map) > 1 {
		add("in %d pieces", len(v.Map))
	}
	return strings.Join(words, ", ")
}

// drawTrial draws the disk while the old system is still there.
func (pl *placer) drawTrial() []Entry {
	a := pl.done
	if a.tier == Gather {
		end := pl.drawEnd()
		for i := range end {
			if end[i].Name == "slot b" {
				end[i].Holds = "empty; here or in data the bundle waits to be streamed again"
			}
		}
		return end
	}
	var entries []Entry
	for _, e := range pl.p.Now {
		if e.Number == a.sw.Borrowed && e.Number != 0 {
			e.Number, e.Holds = 0, e.Holds+"; its entry is borrowed"
		}
		if e.Name == "free" && pl.taken(e) {
			continue
		}
		entries = append(entries, e)
	}
	for _, e := range pl.newEntries() {
		for _, old := range pl.p.Now {
			e.Within = e.Within || old.Number != 0 && old.Start <= e.Start && e.Start < old.Start+old.Size
		}
		entries = append(entries, e)
	}
	if a.copied != nil {
		c := a.copied
		entries = append(entries, Entry{Name: "data", Start: c.Start, Size: c.Size, Holds: "room for customers' data", Within: c.Source != SourceDisk, New: true, Estimated: c.Estimated})
	}
	return sorted(entries)
}

// taken tells free space that something new lies in: it is not drawn twice.
func (pl *placer) taken(e Entry) bool {
	a := pl.done
	placed := []Placement{a.boot, a.a}
	if a.copied != nil {
		placed = append(placed, *a.copied)
	}
	return slices.ContainsFunc(placed, func(p Placement) bool { return e.Start < p.End() && p.Start < e.Start+e.Size })
}

func (pl *placer) newEntries() []Entry {
	a := pl.done
	return []Entry{
		{Number: a.numbers.boot, Name: "abboot", Start: a.boot.Start, Size: a.boot.Size, Holds: bootWords(a), New: true, Estimated: a.boot.Estimated},
		{Number: a.numbers.a, Name: "slot a", Start: a.a.Start, Size: a.a.Size, Holds: "the new system", New: true, Estimated: a.a.Estimated},
	}
}

func bootWords(a *attempt) string {
	if a.tier == Carve {
		return "boot state; kernel and initramfs of the old system"
	}
	return "boot state; the migrator"
}

// drawEnd draws the disk after finish.
func (pl *placer) drawEnd() []Entry {
	a, s := pl.done, pl.s
	entries := pl.newEntries()
	entries[0].Holds = "boot state"
	entries = append(entries,
		Entry{Number: a.numbers.b, Name: "slot b", Start: a.b.from, Size: a.b.size(), Holds: "empty until the next update", New: true, Estimated: a.estimated},
		Entry{Number: a.numbers.data, Name: "data", Start: a.dataSpan.from, Size: a.dataSpan.size(), Holds: dataWords(a), New: true, Estimated: a.estimated && a.data.keep == nil},
	)
	taken := []span{}
	for _, v := range s.Volumes {
		p, ok := s.Disk.Table.Part(v.Part)
		if ok && !v.Logical() && s.keptPart(p) {
			entries = append(entries, drawVolume(s, &v))
		}
	}
	for _, e := range entries {
		taken = append(taken, span{e.Start, e.Start + e.Size})
	}
	for _, gap := range s.usable().minus(taken) {
		if gap.size() >= align {
			entries = append(entries, Entry{Name: "free", Start: gap.from, Size: gap.size(), Estimated: a.estimated})
		}
	}
	return sorted(entries)
}

func dataWords(a *attempt) string {
	switch a.data.Mode {
	case DataNew:
		return "made empty"
	case DataInPlace:
		return fmt.Sprintf("%s of %s, as it is", a.data.keep.Content.Format, a.data.keep.Name)
	case DataCopy:
		return "customers' data, copied"
	}
	return fmt.Sprintf("internal error: data mode %q", a.data.Mode)
}
