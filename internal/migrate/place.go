package migrate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/partition"
)

// placer finds room for everything new.
type placer struct {
	p    *Plan
	s    *Survey
	root *Volume
	done *attempt // the one that worked
}

// place tries the tiers that the user allows, carve first: only it leaves the
// old system whole.
func (pl *placer) place(want Tier) {
	data := pl.sortTrees()
	pl.p.Data = &data.Data
	var refusals []Refusal
	for _, tier := range []Tier{Carve, Gather} {
		if want != "" && want != tier {
			continue
		}
		a := newAttempt(pl, tier, data)
		a.run()
		if len(a.refusals) == 0 {
			for _, r := range refusals {
				pl.p.note("%s is not possible: %s.", Carve, strings.TrimPrefix(r.Reason, string(Carve)+": "))
			}
			pl.accept(a)
			return
		}
		for _, r := range a.refusals {
			r.Reason = fmt.Sprintf("%s: %s", tier, r.Reason)
			refusals = append(refusals, r)
		}
	}
	pl.p.Refusals = append(pl.p.Refusals, refusals...)
}

func (pl *placer) accept(a *attempt) {
	pl.done = a
	p := pl.p
	p.Tier, p.Boot, p.A, p.Switch = a.tier, &a.boot, &a.a, &a.sw
	p.Data = &a.data.Data
	p.Data.Start, p.Data.Size = a.dataSpan.from, a.dataSpan.size()
	p.Notes = append(p.Notes, a.notes...)
	if a.tier == Gather {
		p.note("Gather has a point after which the old system is gone before the new one has been tried: start wants --accept-no-return.")
	}
}

// attempt is one way to place everything. Only the one that works is kept.
type attempt struct {
	pl       *placer
	tier     Tier
	data     dataPlan
	refusals []Refusal
	notes    []string

	gaps, groups []span // free, and known exactly
	budget       int64  // bytes that files may still take of the root file system
	files        int64  // bytes that they have taken
	runs         []span // where it lies, less the examples given already

	boot, a Placement
	copied  *Placement // room for customers' data that are copied
	sw      Switch
	numbers numbers

	b, dataSpan span
	estimated   bool
}

func newAttempt(pl *placer, tier Tier, data dataPlan) *attempt {
	a := &attempt{pl: pl, tier: tier, data: data, gaps: pl.s.unpartitioned()}
	a.data.Trees = slices.Clone(data.Trees)
	if g := pl.s.group(pl.root.Group); pl.root.Logical() && g != nil {
		for _, r := range g.Free {
			a.groups = append(a.groups, span{r.Disk, r.DiskEnd()})
		}
	}
	a.budget = max(0, pl.root.Content.Free-oldReserve)
	for _, r := range pl.root.Map.Stretches() {
		a.runs = append(a.runs, span{r.Disk, r.Disk + r.Len})
	}
	return a
}

func (a *attempt) refuse(code, next, format string, args ...any) {
	a.refusals = append(a.refusals, Refusal{Code: code, Next: next, Reason: fmt.Sprintf(format, args...)})
}

func (a *attempt) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// run places the large things first: the small ones fit what is left.
func (a *attempt) run() {
	switch a.tier {
	case Carve:
		a.carve()
	case Gather:
		a.gather()
	}
	if len(a.refusals) > 0 {
		return
	}
	a.assignNumbers()
	a.placeSwitch()
	a.placeEnd()
}

func (a *attempt) carve() {
	a.settleData()
	if slot, ok := a.take("slot a", a.pl.p.SlotSize); ok {
		a.a = slot
	}
	if a.data.copyRoom > 0 {
		if room, ok := a.take("customers' data", a.data.copyRoom); ok {
			a.copied = &room
		}
	}
	if boot, ok := a.take("abboot", abbootSize); ok {
		a.boot = boot
	}
	if len(a.refusals) == 0 {
		a.notePlaces()
	}
}

// notePlaces says how sure it is that files get their runs: how a file system
// will answer fallocate is not known before it is asked.
func (a *attempt) notePlaces() {
	root := a.pl.root
	if a.boot.Source == SourceGroup || a.a.Source == SourceGroup || a.copied != nil && a.copied.Source == SourceGroup {
		a.note("Free space of the volume group %s is used: until finish, make and enlarge no logical volumes.", root.Group)
	}
	if a.files == 0 {
		return
	}
	sure := "that is expected to work"
	if root.Content.Free < 2*(a.files+oldReserve) {
		sure = "the file system is rather full, so that may fail"
	}
	a.note("%s will be files in the root file system (%s free), each in one contiguous run; %s. prepare finds out, and the addresses drawn are examples.",
		size(a.files), size(root.Content.Free), sure)
}

// take finds room: in no partition, in no logical volume, else as a file in
// the root file system.
func (a *attempt) take(what string, n int64) (Placement, bool) {
	if i := fit(a.gaps, n); i >= 0 {
		p := Placement{Source: SourceDisk, Size: n}
		p.Start, a.gaps = cut(a.gaps, i, n)
		return p, true
	}
	if i := fit(a.groups, n); i >= 0 {
		p := Placement{Source: SourceGroup, Volume: a.pl.root.Group, Size: n}
		p.Start, a.groups = cut(a.groups, i, n)
		return p, true
	}
	return a.takeFile(what, n)
}

func (a *attempt) takeFile(what string, n int64) (Placement, bool) {
	root := a.pl.root
	run := largest(a.runs)
	longest := min(run.size(), root.Content.MaxRun)
	switch {
	case root.Content.Free < 0:
		a.refuse("no-room", "", "%s: how much is free in the root file system is not known", what)
		return Placement{}, false
	case n > longest:
		a.refuse("no-run", a.smaller(), "%s needs %s in one contiguous piece; in this root file system (%s) a file can have %s at most", what, size(n), root.Content.Format, size(longest))
		return Placement{}, false
	case n > a.budget:
		a.refuse("no-room", "make room in the root file system, or give a smaller --slot-size",
			"%s needs %s, and the root file system has %s to give (%s free, %s stay free for the old system)",
			what, size(n), size(a.budget), size(root.Content.Free), size(oldReserve))
		return Placement{}, false
	}
	a.budget, a.files, a.estimated = a.budget-n, a.files+n, true
	p := Placement{Source: SourceFile, Volume: root.Name, Size: n, Estimated: true}
	i := slices.IndexFunc(a.runs, func(r span) bool { return r.aligned() == run })
	p.Start, a.runs = cut(a.runs, i, n)
	return p, true
}

func (a *attempt) smaller() string {
	if a.tier == Carve {
		return "give a smaller --slot-size, or --tier gather"
	}
	return ""
}

// gather needs room for what it streams from, outside of where it streams to.
func (a *attempt) gather() {
	a.settleData()
	if boot, ok := a.take("abboot", abbootSize); ok {
		a.boot = boot
	}
	staged := a.pl.p.SlotSize / 2
	if b := a.pl.p.Bundle; b != nil {
		staged = b.Compressed
	} else {
		a.note("The bundle was taken to have %s, half of a slot.", size(staged))
	}
	if need := staged + archiveSize; need > a.budget {
		a.refuse("no-room", "make room in the root file system",
			"the bundle and the preserve archive need %s, and the root file system has %s to give", size(need), size(a.budget))
	}
	a.estimated = true
}

// numbers are those of the new partitions.
type numbers struct{ boot, a, b, data int }

// assignNumbers chooses partition numbers. grub.cfg is rendered once with
// them, so they are those of the end from the beginning.
func (a *attempt) assignNumbers() {
	var used []int
	kept := a.data.keep
	for _, p := range a.pl.s.Disk.Table.Parts {
		used = append(used, p.Number)
	}
	if a.pl.s.Disk.Table.Scheme == partition.GPT {
		a.numbers = gptNumbers(used)
	} else {
		a.mbrNumbers(used)
	}
	if kept != nil && !kept.Logical() {
		if a.numbers.b == kept.Part {
			a.numbers.b = a.numbers.data
		}
		a.numbers.data = kept.Part
	}
}

func gptNumbers(used []int) numbers {
	var free []int
	for n := 1; len(free) < 4; n++ {
		if !slices.Contains(used, n) {
			free = append(free, n)
		}
	}
	return numbers{free[0], free[1], free[2], free[3]}
}

// mbrNumbers needs two entries beside those of the old system. One may be
// borrowed from swap: the old system lives without.
func (a *attempt) mbrNumbers(used []int) {
	var free, others []int
	for n := 1; n <= 4; n++ {
		if !slices.Contains(used, n) {
			free = append(free, n)
		}
	}
	if len(free) < 2 {
		if n := a.borrow(); n != 0 {
			free = append(free, n)
			a.sw.Borrowed = n
			a.note("The MBR has no free entry left: that of the swap on partition %d is used until the end. The old system then starts without this swap, which may take it 90 seconds longer.", n)
		}
	}
	if len(free) < 2 {
		a.refuse("mbr-entries", "remove a partition that is not needed",
			"an MBR has four entries, and the trial needs two beside those of the old system (abboot and slot a); %d can be had", len(free))
		return
	}
	slices.Sort(free)
	for n := 1; n <= 4; n++ {
		if n != free[0] && n != free[1] {
			others = append(others, n)
		}
	}
	a.numbers = numbers{boot: free[0], a: free[1], b: others[0], data: others[1]}
}

// borrow returns the number of a swap partition, 0 if there is none.
func (a *attempt) borrow() int {
	for _, v := range a.pl.s.Volumes {
		if v.Content.Kind == KindSwap && !v.Logical() {
			return v.Part
		}
	}
	return 0
}
