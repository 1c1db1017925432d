package migrate

import (
	"cmp"
	"slices"

	"github.com/abupdate/abupdate/internal/partition"
)

// span is the bytes [from, to) of the disk.
type span struct{ from, to int64 }

func (s span) size() int64 { return s.to - s.from }

// aligned is the largest part of a span that begins and ends on the
// alignment.
func (s span) aligned() span {
	return span{roundUp(s.from, align), s.to / align * align}
}

// minus returns what is left of a span without the given ones, in order.
func (s span) minus(taken []span) []span {
	taken = slices.Clone(taken)
	slices.SortFunc(taken, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var left []span
	next := s.from
	for _, t := range append(taken, span{s.to, s.to}) {
		if t.from > next {
			left = append(left, span{next, min(t.from, s.to)})
		}
		next = max(next, t.to)
		if next >= s.to {
			break
		}
	}
	return left
}

// fit returns the index of the smallest span that holds n aligned bytes, -1
// if none does: what is large stays whole.
func fit(spans []span, n int64) int {
	best := -1
	for i, s := range spans {
		if s.aligned().size() >= n && (best < 0 || s.size() < spans[best].size()) {
			best = i
		}
	}
	return best
}

// cut takes n aligned bytes off the end of spans[i].
func cut(spans []span, i int, n int64) (int64, []span) {
	end := spans[i].aligned().to
	start := end - n
	rest := slices.Clone(spans)
	rest[i].to = start
	return start, rest
}

// largest returns the largest of some spans, by what is aligned in it.
func largest(spans []span) span {
	var best span
	for _, s := range spans {
		if a := s.aligned(); a.size() > best.size() {
			best = a
		}
	}
	return best
}

// usable is the part of the disk that partitions may have.
func (s *Survey) usable() span {
	u := span{align, s.Disk.Size}
	switch s.Disk.Table.Scheme {
	case partition.MBR:
		u.to = min(u.to, (1<<32)*sector) // what an entry reaches
	case partition.GPT:
		u.to -= align // the backup
	}
	return u
}

// unpartitioned returns the usable space that is in no partition.
func (s *Survey) unpartitioned() []span {
	var taken []span
	for _, p := range s.Disk.Table.Parts {
		taken = append(taken, span{p.Start, p.End()})
	}
	return s.usable().minus(taken)
}
