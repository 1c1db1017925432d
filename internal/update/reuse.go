package update

import (
	"context"
	"slices"
	"sort"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

// origin says where a frame comes from.
type origin uint8

const (
	fromBundle origin = iota + 1
	fromZeros         // nothing but zeros
	fromPlace         // it lies in the target already, where it belongs
	fromDevice        // put together from blocks that this device has
)

// recipe says where each frame of an image comes from. Nothing in it is
// trusted: a frame is written only when its SHA-256 is the signed one.
type recipe struct {
	frames  []bundle.Frame
	origins []origin

	places          [][]place // of each frame from the device: its blocks; 0: zeros
	running, target blockdev.Device
}

// newRecipe takes all frames from the bundle, but for zeros and for those that
// the target holds.
func newRecipe(frames []bundle.Frame, held []bool) *recipe {
	r := &recipe{frames: frames, origins: make([]origin, len(frames))}
	for i, f := range frames {
		switch {
		case held != nil && held[i]:
			r.origins[i] = fromPlace
		case f.Zero:
			r.origins[i] = fromZeros
		default:
			r.origins[i] = fromBundle
		}
	}
	return r
}

// needed is how much of the bundle the recipe takes, in compressed bytes.
func (r *recipe) needed() (n int64) {
	for i, f := range r.frames {
		if r.origins[i] == fromBundle {
			n += int64(f.CompressedLen)
		}
	}
	return n
}

// forgo takes from the bundle what was to come from the device.
func (r *recipe) forgo() {
	for i, from := range r.origins {
		if from == fromDevice {
			r.origins[i] = fromBundle
		}
	}
	r.places = nil
}

// reused is the length of the frames that this device had, in bytes of image.
func (r *recipe) reused() (n int64) {
	for i, f := range r.frames {
		if r.origins[i] == fromPlace || r.origins[i] == fromDevice {
			n += f.Len
		}
	}
	return n
}

// scanWorth is how much there must be to fetch before the slots are read in
// search of it, in bytes.
const scanWorth = 1 << 20

// find searches both slots for the blocks of the image and takes from the
// device what frames it can. target is the slot that is written, before the
// first write.
func (u *Updater) find(ctx context.Context, r *recipe, want *wanted, target blockdev.Device) error {
	running, err := u.dev.readSlot(u.dev.Running)
	if err != nil {
		return err
	}
	want.index()
	if err := want.scan(ctx, running, 0, 0, u.searching(u.dev.Running)); err != nil {
		return err
	}
	// The target's first MiB is the first thing that the writer takes away.
	if err := want.scan(ctx, target, partition.HeadSize, inTarget, u.searching(u.facts.Target())); err != nil {
		return err
	}
	r.running, r.target = running, target
	r.take(want)
	return nil
}

func (u *Updater) searching(id slot.ID) func(done, total int64) {
	label := "searching slot " + id.String()
	return func(done, total int64) { u.o.Progress(label, done, total) }
}

// readSlot returns a slot for reading only.
func (d *Device) readSlot(id slot.ID) (blockdev.Device, error) {
	p, err := d.partitionOf(id)
	if err != nil {
		return nil, err
	}
	return blockdev.Section(d.disk, p.Start, p.Size)
}

// take takes from the device each frame whose blocks are zeros, or were seen
// where they still are when the frame's turn comes.
func (r *recipe) take(want *wanted) {
	r.places = make([][]place, len(r.frames))
	var places []place // of the blocks of frame i so far
	i, has := 0, true
	for _, h := range want.blocks() {
		f, at := r.frames[i], place(0)
		if has && h != 0 {
			at = want.where(h)
			has = at != 0 && (at&inTarget == 0 || r.lasts(at.offset(), f.Off))
		}
		if places = append(places, at); int64(len(places))*bundle.BlockSize < f.Len {
			continue
		}
		if has && r.origins[i] == fromBundle {
			r.origins[i], r.places[i] = fromDevice, slices.Clone(places)
		}
		i, has, places = i+1, true, places[:0]
	}
}

// lasts reports whether the block at byte at of the target is still what it
// was when the frame at byte turn is about to be written. Frames are begun in
// order, and what a frame needs of the target is read before a later one is
// begun: so what lies ahead is there, and what is held is never written.
func (r *recipe) lasts(at, turn int64) bool {
	if at >= turn {
		return true
	}
	i := sort.Search(len(r.frames), func(i int) bool { return r.frames[i].Off > at }) - 1
	f := r.frames[i]
	return r.origins[i] == fromPlace && at+bundle.BlockSize <= f.Off+f.Len
}

// read puts those blocks of the i-th frame into plain that lie in the given slot, 0
// or inTarget; with 0 also those that are zeros. What cannot be read is left
// as it is: the frame's hash will tell.
func (r *recipe) read(i int, plain []byte, from place) {
	f, dev := r.frames[i], r.running
	if from == inTarget {
		dev = r.target
	}
	// Blocks that follow each other there and here are one read.
	var start, at, n int64 // in plain, on the device, length
	flush := func() {
		if n > 0 {
			_, _ = dev.ReadAt(plain[start:start+n], at)
		}
		n = 0
	}
	for b, p := range r.places[i] {
		off := int64(b) * bundle.BlockSize
		length := min(bundle.BlockSize, f.Len-off)
		if p == 0 {
			if from == 0 {
				clear(plain[off:][:length])
			}
			continue
		}
		if p&inTarget != from {
			continue
		}
		if n == 0 || start+n != off || at+n != p.offset() {
			flush()
			start, at = off, p.offset()
		}
		n += length
	}
	flush()
}

// ranges are the bytes of the bundle that hold the compressed frames taken
// from it. start is where the first frame lies.
func (r *recipe) ranges(start int64) []source.Range {
	var out []source.Range
	for i, f := range r.frames {
		end := start + int64(f.CompressedLen)
		if r.origins[i] == fromBundle {
			out = append(out, source.Range{Off: start, End: end})
		}
		start = end
	}
	return out
}

const (
	maxRanges = 590     // of one image: a request each
	minGap    = 2 << 10 // bytes: a request and its answer take about as much
)

// merge joins ranges until at most limit are left, over the smallest gaps
// first, and over those that are not worth a request in any case.
func merge(ranges []source.Range, limit int) []source.Range {
	var gaps []int64
	for i := 1; i < len(ranges); i++ {
		if gap := ranges[i].Off - ranges[i-1].End; gap >= minGap {
			gaps = append(gaps, gap)
		}
	}
	least := int64(minGap)
	if len(gaps) > limit-1 {
		sort.Slice(gaps, func(i, j int) bool { return gaps[i] > gaps[j] })
		least = gaps[limit-1] + 1
	}
	var out []source.Range
	for _, r := range ranges {
		if n := len(out); n > 0 && r.Off-out[n-1].End < least {
			out[n-1].End = r.End
			continue
		}
		out = append(out, r)
	}
	return out
}

// total is the length of all ranges, in bytes.
func total(ranges []source.Range) (n int64) {
	for _, r := range ranges {
		n += r.End - r.Off
	}
	return n
}
