package blockdevtest

import (
	"fmt"
	"strings"
	"testing"
)

// Campaign is a piece of code that is cut at each of its operations, and what
// must hold whenever the power comes back.
type Campaign struct {
	Base *Disk
	// Run is the code. Its own error is a violation.
	Run func(*Disk) error
	// Recover is what the device does when power comes back. It is cut, too, at
	// each of its operations, from each disk that the first cut left, and
	// without a cut its error is a violation. nil: there is one cut only.
	Recover func(*Disk) error
	// Recoveries bounds from how many of the first cuts, spread evenly over all
	// of them, Recover is cut: about so many for each step of Scale. It is for
	// code that writes much data; 0 is all of them. From a cut at each operation
	// of Run, with nothing lost and with all lost that was not durable, Recover
	// is always tried without a cut.
	Recoveries int
	// Check returns an error when the disk after the last cut is not as it
	// must be.
	Check func(Crash) error
	// Excuse says why a torn physical sector may do harm here: such points are
	// counted and reported, and are no violations. Empty: they are judged as
	// any other.
	Excuse string
}

// sample takes between most and twice as many of the crashes that are added,
// at even distances.
type sample struct {
	most, added, step int
	taken             []Crash
}

func (s *sample) add(c Crash) {
	if s.step = max(s.step, 1); s.added%s.step == 0 {
		s.taken = append(s.taken, c)
	}
	s.added++
	if len(s.taken) <= 2*s.most {
		return
	}
	kept := s.taken[:0]
	for i := 0; i < len(s.taken); i += 2 {
		kept = append(kept, s.taken[i])
	}
	s.taken, s.step = kept, 2*s.step
}

// maxReports bounds how many violations of a campaign are told in full.
const maxReports = 5

// tally counts what a campaign found.
type tally struct {
	t          testing.TB
	c          Campaign
	points     [len(Policies) + 1]int
	violations int
	excused    int
	seen       map[point]bool
}

// Test runs the campaign. It reports each violation as an error of t, with what
// reproduces it, and logs how many points were checked in a line that begins
// with "crash: N points, V violations".
func (c Campaign) Test(t testing.TB) {
	t.Helper()
	y := &tally{t: t, c: c, seen: make(map[point]bool)}
	firsts := sample{most: c.Recoveries * Scale()}
	err := eachCrash(c.Base, c.Run, func(cut Crash) {
		switch {
		case !y.judge(cut) || c.Recover == nil:
		case c.Recoveries == 0:
			y.again(cut)
		default:
			if cut.Policy == AllLost || cut.Policy == AllLanded {
				y.recovers(cut)
			}
			firsts.add(cut)
		}
	})
	for _, cut := range firsts.taken {
		y.again(cut)
	}
	if err != nil {
		y.violation("without a cut: %v", err)
	}
	t.Logf("crash: %v", y)
}

// recovers lets the device recover from a cut, undisturbed.
func (y *tally) recovers(first Crash) {
	disk := first.Disk.Clone()
	if err := y.c.Recover(disk); err != nil {
		y.violation("%v: recovering: %v", first, err)
		return
	}
	end := Crash{Index: len(disk.log), Policy: AllLanded, Acknowledged: len(disk.acks), Done: true, First: &first}
	if end.Index > 0 {
		end.Last = disk.log[end.Index-1]
	}
	end.Disk = disk.Clone()
	y.judge(end)
}

// again cuts in the recovery from a cut.
func (y *tally) again(first Crash) {
	err := eachCrash(first.Disk, y.c.Recover, func(second Crash) {
		second.First = &first
		y.judge(second)
	})
	if err != nil && !y.excuses(first) {
		y.violation("%v: recovering: %v", first, err)
	}
}

// judge checks a crash unless it was checked already, and reports whether it
// was new.
func (y *tally) judge(c Crash) bool {
	p := c.point()
	if y.seen[p] {
		return false
	}
	y.seen[p] = true
	y.points[c.Policy]++
	c.Disk = c.Disk.Clone() // Check may boot it, which writes
	if err := y.c.Check(c); err != nil && !y.excuses(c) {
		y.violation("%v: %v", c, err)
	}
	return true
}

// excuses reports whether harm after this cut is excused, and counts it.
func (y *tally) excuses(c Crash) bool {
	excused := y.c.Excuse != "" && (c.Policy == Physical || c.First != nil && c.First.Policy == Physical)
	if excused {
		y.excused++
	}
	return excused
}

func (y *tally) violation(format string, args ...any) {
	y.t.Helper()
	if y.violations++; y.violations <= maxReports {
		y.t.Errorf(format, args...)
	}
}

func (y *tally) String() string {
	var parts []string
	for _, p := range Policies {
		if n := y.points[p]; n > 0 {
			parts = append(parts, fmt.Sprintf("%v %d", p, n))
		}
	}
	s := fmt.Sprintf("%d points, %d violations (%s)", len(y.seen), y.violations, strings.Join(parts, ", "))
	if y.excused > 0 {
		s += fmt.Sprintf("; %d points of a torn 4 KiB did harm: %s", y.excused, y.c.Excuse)
	}
	return s
}
