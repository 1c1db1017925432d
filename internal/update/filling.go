package update

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
)

// filling is a slot that gets its image: from the bundle, from its own old
// content and from the running slot, whichever costs the least to fetch.
type filling struct {
	u      *Updater
	src    source.Source
	bundle *openedBundle
	ir     *bundle.ImageReader
	w      *partition.SlotWriter
	recipe *recipe
	label  string
}

// plan decides what is fetched, and takes in.want for it: the table is gone
// before the buffers of the pipeline come. It is nil when parts of the bundle
// cannot be fetched alone, and then all of it is fetched.
func (f *filling) plan(ctx context.Context, in *incoming, target blockdev.Device) error {
	full := f.recipe.needed()
	want := in.want
	in.want = nil
	if want == nil || full < scanWorth {
		return nil
	}
	if err := f.u.find(ctx, f.recipe, want, target); err != nil {
		return err
	}
	debug.FreeOSMemory()
	ranges := merge(f.recipe.ranges(f.ir.Start()), maxRanges)
	// A request costs a round trip, and blocks from here and there cost reads:
	// for a tenth less the stream in one piece is the better way.
	if total(ranges) > full-full/10 {
		f.recipe.forgo()
		return nil
	}
	f.planRanges(ranges)
	return nil
}

// planRanges says what will be read of the bundle.
func (f *filling) planRanges(ranges []source.Range) {
	if images := f.bundle.Manifest().Images; images[len(images)-1].Name == rootImage {
		// The end of the bundle; what is small may come with the last frames.
		end := f.ir.Start() + f.ir.Image().CompressedSize
		ranges = merge(append(ranges, source.Range{Off: end, End: f.bundle.ranger.Size()}), maxRanges)
	}
	f.bundle.plan(ranges)
}

// run writes all frames, and those that the device did not have after all in
// a second pass.
func (f *filling) run(ctx context.Context) error {
	p := &pipeline{progress: f.u.o.Progress, label: f.label, src: f.src, ir: f.ir, recipe: f.recipe, w: f.w}
	failed, err := p.run(ctx)
	if err != nil {
		return err
	}
	if err := f.bundle.finish(); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	// The running system wrote to its slot meanwhile.
	for _, i := range failed {
		f.recipe.origins[i] = fromBundle
	}
	return f.fetch(ctx, failed)
}

// fetch gets single frames from the bundle.
func (f *filling) fetch(ctx context.Context, frames []int) (err error) {
	late := &recipe{frames: f.recipe.frames, origins: make([]origin, len(f.recipe.frames))}
	for _, i := range frames {
		late.origins[i] = fromBundle
	}
	ranges := late.ranges(f.ir.Start())
	stream, err := f.bundle.ranger.OpenRanges(ctx, merge(ranges, maxRanges))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	dec, err := bundle.NewDecoder(int(f.ir.Image().FrameSize))
	if err != nil {
		return err
	}
	defer dec.Close()
	compressed := make([]byte, f.ir.MaxCompressed())
	plain := blockdev.AlignedBuffer(int(f.ir.Image().FrameSize))
	at := ranges[0].Off
	for n, i := range frames {
		frame := f.recipe.frames[i]
		if err := stream.Discard(ranges[n].Off - at); err != nil {
			return err
		}
		if _, err := io.ReadFull(stream, compressed[:frame.CompressedLen]); err != nil {
			return fmt.Errorf("fetching the image bytes [%d, %d): %w", frame.Off, frame.Off+frame.Len, err)
		}
		at = ranges[n].End
		data, err := Arrived(ctx, f.src, f.ir, i, compressed[:frame.CompressedLen])
		if err != nil {
			return err
		}
		out, err := dec.Decode(plain, frame, data)
		if err != nil {
			return err
		}
		if err := writeFrame(f.w, frame, out); err != nil {
			return err
		}
	}
	return nil
}

// blame says whose fault it is that the slot does not hold the signed bytes at
// off: the bundle's, if its frame has others. The packer of such a bundle
// signed an index that is not of its frames. A bundle that was read from a
// pipe cannot be asked.
func (f *filling) blame(ctx context.Context, off int64) error {
	i, ok := slices.BinarySearchFunc(f.recipe.frames, off, func(f bundle.Frame, off int64) int { return cmp.Compare(f.Off, off) })
	if !ok || f.recipe.origins[i] != fromBundle || !f.src.Rewindable() {
		return nil
	}
	if image, err := f.look(ctx, i); err == nil && !f.recipe.frames[i].Matches(image) {
		return bundle.ImageMismatch(f.recipe.frames[i])
	}
	return nil
}

// look gets one frame from the bundle again, as its compressed bytes are signed.
func (f *filling) look(ctx context.Context, i int) (image []byte, err error) {
	frame := f.recipe.frames[i]
	stream, err := f.src.Open(ctx, f.ir.Offset(i))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	compressed := make([]byte, frame.CompressedLen)
	if _, err := io.ReadFull(stream, compressed); err != nil {
		return nil, err
	}
	dec, err := bundle.NewDecoder(int(frame.Len))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.Expand(nil, frame, compressed)
}
