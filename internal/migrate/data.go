package migrate

import (
	"fmt"
	"slices"
	"strings"
)

// Data says what becomes of customers' data.
type Data struct {
	Mode DataMode `json:"mode"`
	// Volume is the file system that stays, with DataInPlace.
	Volume string     `json:"volume,omitempty"`
	Start  int64      `json:"start,omitempty"`
	Size   int64      `json:"size,omitempty"`
	Trees  []TreePlan `json:"trees"`
}

// DataMode is how the data partition comes to its content.
type DataMode string

// The modes.
const (
	// DataNew: there is nothing to carry; it is made empty.
	DataNew DataMode = "new"
	// DataInPlace: a file system of the old system becomes it, as it is.
	DataInPlace DataMode = "in-place"
	// DataCopy: it is made beside the old system, and files are copied.
	DataCopy DataMode = "copy"
)

// TreePlan is one tree and its fate.
type TreePlan struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	Files int64  `json:"files,omitempty"`
	Fate  Fate   `json:"fate"`
	// Detail says where it goes, or why not.
	Detail string `json:"detail"`
}

// Fate is what becomes of a tree.
type Fate string

// The fates.
const (
	FateCarried Fate = "carried"
	FateDropped Fate = "dropped"
	FateRefused Fate = "refused"
)

// dataPlan is Data on its way to being settled.
type dataPlan struct {
	Data
	keep     *Volume // becomes the data partition
	copyRoot int64   // bytes to copy
	copyRoom int64   // room that needs, when there is nothing to copy into
}

// sortTrees decides which trees are carried, and whether one file system can
// stay where it is: what is not moved cannot be lost by moving it.
func (pl *placer) sortTrees() dataPlan {
	d := dataPlan{Data: Data{Mode: DataNew, Trees: []TreePlan{}}}
	held := map[string]int64{} // by volume
	for _, t := range pl.s.Trees {
		tree := TreePlan{Path: t.Path, Bytes: t.Bytes, Files: t.Files, Fate: FateCarried}
		if t.Drop != "" {
			tree.Fate, tree.Detail = FateDropped, t.Drop
		} else {
			held[t.Volume] += t.Bytes
		}
		d.Trees = append(d.Trees, tree)
	}
	for i := range pl.s.Volumes {
		v := &pl.s.Volumes[i]
		if v != pl.root && held[v.Name] > 0 && len(v.Map) == 1 && isLinux(v.Content.Format) && v.Content.Free >= 0 &&
			(d.keep == nil || held[v.Name] > held[d.keep.Name]) {
			d.keep = v
		}
	}
	for name, bytes := range held {
		if d.keep == nil || name != d.keep.Name {
			d.copyRoot += bytes
		}
	}
	return d
}

// settleData says for each tree where it goes, or why it cannot.
func (a *attempt) settleData() {
	d := &a.data
	switch {
	case d.keep != nil:
		d.Mode, d.Volume = DataInPlace, d.keep.Name
	case d.copyRoot > 0:
		d.Mode = DataCopy
		// A file system needs room for itself, too.
		d.copyRoom = roundUp(d.copyRoot/10*11+minDataSize, align)
	}
	room := d.keep != nil && d.copyRoot <= d.keep.Content.Free
	for i := range d.Trees {
		if d.Trees[i].Fate == FateCarried {
			a.settleTree(&d.Trees[i], room)
		}
	}
}

// settleTree settles one tree that is to be carried. room: what has to be
// copied fits the file system that stays.
func (a *attempt) settleTree(t *TreePlan, room bool) {
	d := &a.data
	i := slices.IndexFunc(a.pl.s.Trees, func(x Tree) bool { return x.Path == t.Path })
	from := a.pl.s.Trees[i]
	refused := func(code, next, why string) {
		t.Fate, t.Detail = FateRefused, why
		a.refuse(code, next, "%s (%s): %s", t.Path, size(t.Bytes), why)
	}
	const policy = "make room, or leave it behind by a [[drop]] rule in /etc/abupdate/preserve.d"
	switch {
	case d.keep != nil && from.Volume == d.keep.Name:
		inside := "/"
		if !from.Root {
			inside = strings.TrimPrefix(t.Path, strings.TrimSuffix(d.keep.Mount, "/"))
		}
		t.Detail = fmt.Sprintf("stays where it is: %s becomes the data partition, this is its %s", d.keep.Name, inside)
	case room:
		t.Detail = "copied into the data partition, under " + t.Path
	case d.keep != nil:
		refused("no-room-data", policy, fmt.Sprintf("it would be copied into %s, which has %s free for %s", d.keep.Name, size(d.keep.Content.Free), size(d.copyRoot)))
	case a.tier == Gather:
		refused("gather-data", "use --tier carve, or leave it behind by a [[drop]] rule in /etc/abupdate/preserve.d",
			"gather overwrites the file system that it is on")
	default:
		t.Detail = "copied into the data partition, under " + t.Path
	}
}
