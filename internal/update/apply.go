package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/slot"
)

// ApplyOptions are the flags of apply.
type ApplyOptions struct {
	DryRun         bool // say what would be done, write nothing
	VerifyFirst    bool // read and check the whole bundle before the first write
	Reinstall      bool // install the running version again
	AllowDowngrade bool // accept an older version; never an older epoch
	NoPreserve     bool // do not carry the configuration into the new system
	// Full is the whole bundle for what a delta cannot make, or when there is no
	// delta where it should be; may be nil.
	Full source.Source
	// Payload is the signed text that the bundle must have (bundle.Reader);
	// zero: any. A channel names it.
	Payload bundle.Digest
	// NoReadBack stops when the image is written, for measuring. The slot
	// stays what a power cut at that moment leaves: never armed, resumed by
	// the next apply, which reads all of it.
	NoReadBack bool
}

// Applied is the outcome of apply.
type Applied struct {
	Slot         slot.ID
	Version      string
	Armed        bool // the next boot is the trial: only on a disk image
	BytesWritten int64
	BytesReused  int64
}

// rootImage is the image that goes into a slot.
const rootImage = "rootfs"

// Apply writes a bundle to the slot that is not running and reads it back.
// On a running machine the slot is left unarmed: the orderly shutdown
// restores the preserved configuration and arms it (Arm). On a disk image
// nothing is preserved and the slot is armed at once.
//
// A refusal (signature, version, size, …) writes nothing. Whatever happens
// before the slot is armed, the running slot stays the one that boots.
func (u *Updater) Apply(ctx context.Context, src source.Source, o ApplyOptions) (Applied, error) {
	if _, err := Decide(u.facts, CommandApply); err != nil {
		return Applied{}, err
	}
	if o.VerifyFirst && !src.Rewindable() {
		return Applied{}, withHint(fmt.Errorf("%w: --verify-first reads the bundle twice, and standard input can be read once", ErrUsage),
			"save the bundle to a file first")
	}
	b, err := u.openBundle(ctx, src, o)
	if o.Full != nil && (errors.Is(err, source.ErrDownload) || errors.Is(err, bundle.ErrFormat)) {
		u.o.Notice("%v; taking %s", err, o.Full.Name())
		src, o.Full = o.Full, nil
		b, err = u.openBundle(ctx, src, o)
	}
	if err != nil {
		return Applied{}, err
	}
	defer func() { b.Close() }()
	done := Applied{Slot: u.facts.Target(), Version: b.Manifest().Version}
	if o.VerifyFirst {
		if err := u.verifyAll(ctx, src, b, o); err != nil {
			return done, err
		}
		again, err := u.openBundle(ctx, src, o)
		if err != nil {
			return done, err
		}
		// What was verified is what must be installed, whoever may have
		// exchanged the file or the server's answer in the meantime.
		if string(again.Envelope()) != string(b.Envelope()) {
			again.Close()
			return done, fmt.Errorf("%w: the bundle changed between verifying and installing it", bundle.ErrSignature)
		}
		b.Close()
		b = again
	}
	if o.DryRun {
		return done, nil
	}
	if err := u.install(ctx, src, b, o, &done); err != nil {
		return done, errors.Join(err, u.noteFailure(ctx, &done, err))
	}
	if o.NoReadBack {
		return done, nil
	}
	if err := u.record(Result{Action: ActionApply, Slot: done.Slot.String(), Version: done.Version, Message: "written and read back"}); err != nil {
		return done, err
	}
	if u.dev.deferred {
		return done, u.checkPreserve(ctx, done.Slot)
	}
	done.Armed = true
	return done, u.Arm(ctx)
}

// checkPreserve finds out now, rather than in the shutdown, whether the
// configuration can be carried into the new system. If not, the slot is given
// up: what it would boot is not the customer's device.
func (u *Updater) checkPreserve(ctx context.Context, id slot.ID) error {
	if u.preserving(id) != PreserveDone {
		return nil
	}
	if _, err := u.PlanPreserve(ctx); err != nil {
		err = fmt.Errorf("planning what to carry into slot %v: %w", id, err)
		if ctx.Err() != nil {
			return err
		}
		return errors.Join(err, u.drop(ActionApply, codePreserve, err.Error()))
	}
	return nil
}

// verifyAll reads the rest of the bundle and checks every frame.
func (u *Updater) verifyAll(ctx context.Context, src source.Source, b *openedBundle, o ApplyOptions) error {
	b.plan(nil)
	for {
		ir, err := b.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if ir.Delta() != nil {
			if ir.Image().Name != rootImage {
				continue // nothing of it goes into a slot
			}
			if err := u.verifyDelta(ctx, ir, o); err != nil {
				return err
			}
			continue
		}
		p := pipeline{progress: u.o.Progress, label: "verifying " + ir.Image().Name, src: src, ir: ir, recipe: newRecipe(ir.Frames(), nil)}
		if _, err := p.run(ctx); err != nil {
			return err
		}
	}
}

// install prepares the target, writes the image and reads it back.
func (u *Updater) install(ctx context.Context, src source.Source, b *openedBundle, o ApplyOptions, done *Applied) (err error) {
	ir, want, err := b.rootImage()
	if err != nil {
		return err
	}
	in := &incoming{src, b, ir, want}
	if ir.Delta() != nil {
		if err := u.suits(ir.Delta()); err != nil && o.Full == nil {
			return err
		} else if err != nil {
			u.o.Notice("%v; taking %s", err, o.Full.Name())
			if in, err = u.openFull(ctx, in, o); err != nil {
				return err
			}
			defer in.bundle.Close()
		}
	}
	dev, closeSlot, err := u.dev.openSlot(done.Slot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSlot()) }()

	before := u.facts.Slot(done.Slot).Record
	record := &SlotRecord{State: RecordWriting, Envelope: b.Envelope(), Keyrings: b.Keyrings(), NoPreserve: o.NoPreserve}
	if err := u.claimTarget(done.Slot, record); err != nil {
		return err
	}
	w, err := partition.NewSlotWriter(dev, in.ir.Image().Size)
	if err != nil {
		return fmt.Errorf("%w: slot %v: %w", ErrWrite, done.Slot, err)
	}
	pieces := piecesOf(in.ir.Frames())
	var held []bool
	// What an earlier run of the same bundle wrote is kept. In any other case
	// few frames would match, and reading them all first would cost more.
	if before != nil && bytes.Equal(before.Envelope, record.Envelope) {
		label := "looking at slot " + done.Slot.String()
		held, err = w.Probe(ctx, pieces, func(n int64) { u.o.Progress(label, n, in.ir.Image().Size) })
		if err != nil {
			return err
		}
	}
	filled, err := u.fill(ctx, in, w, dev, held, o, done)
	if err != nil {
		return err
	}
	if err := w.Finish(); err != nil {
		return fmt.Errorf("%w: slot %v: %w", ErrWrite, done.Slot, err)
	}
	done.BytesWritten = w.BytesWritten()
	if o.NoReadBack {
		return nil
	}
	if err := u.readBack(ctx, w, pieces, done.Slot); err != nil {
		var wrong *partition.MismatchError
		if errors.As(err, &wrong) {
			if blame := filled.blame(ctx, wrong.Off); blame != nil {
				return blame
			}
		}
		return err
	}
	record.State, record.InstalledAt = RecordWritten, u.o.Now().Unix()
	// After this record is durable the orderly shutdown arms the slot; a cut
	// before it leaves an interrupted apply, which the same command finishes.
	if err := u.setRecord(done.Slot, record); err != nil {
		return err
	}
	return u.refresh()
}

// fill writes the image, the first MiB excepted, and returns how.
func (u *Updater) fill(ctx context.Context, in *incoming, w *partition.SlotWriter, target blockdev.Device, held []bool, o ApplyOptions, done *Applied) (*filling, error) {
	if in.ir.Delta() != nil {
		return u.fillByDelta(ctx, in, w, target, held, o, done)
	}
	f := in.filling(u, w, newRecipe(in.ir.Frames(), held), "writing slot "+done.Slot.String())
	if err := f.plan(ctx, in, target); err != nil {
		return nil, err
	}
	err := f.run(ctx)
	done.BytesWritten, done.BytesReused = w.BytesWritten(), f.recipe.reused()
	return f, err
}

// piecesOf returns the frames as the slot writer knows them.
func piecesOf(frames []bundle.Frame) []partition.Piece {
	pieces := make([]partition.Piece, len(frames))
	for i, f := range frames {
		pieces[i] = partition.Piece{Off: f.Off, Len: f.Len, SHA256: f.SHA256, Zero: f.Zero}
	}
	return pieces
}

// readBack compares the whole slot with the signed hashes, past the page
// cache: a system that the disk does not return is never armed.
func (u *Updater) readBack(ctx context.Context, w *partition.SlotWriter, pieces []partition.Piece, id slot.ID) error {
	last := pieces[len(pieces)-1]
	total := last.Off + last.Len
	label := "reading back slot " + id.String()
	err := w.Verify(ctx, pieces, func(n int64) { u.o.Progress(label, n, total) })
	if err != nil && ctx.Err() == nil {
		return withHint(fmt.Errorf("%w: reading back slot %v: %w", ErrWrite, id, err),
			"run the same command again, which writes only what is wrong; if this comes back, the disk is failing")
	}
	return err
}

// claimTarget takes the target out of GRUB's sight before its first byte
// changes. Each line is durable before the next begins, and a cut after any
// of them boots the running slot.
func (u *Updater) claimTarget(target slot.ID, record *SlotRecord) error {
	if err := u.setBoot(bootctl.Disarm(u.facts.Boot, u.facts.Running)); err != nil {
		return err
	}
	if err := u.dev.Store.InvalidateArgs(bootctl.SystemOf(target)); err != nil {
		return err
	}
	return u.setRecord(target, record)
}

// noteFailure writes down why an apply failed. A target that got a bad frame
// is empty; after a lost network or a cancelled run it can be resumed.
func (u *Updater) noteFailure(ctx context.Context, done *Applied, cause error) error {
	var errs []error
	if errors.Is(cause, bundle.ErrSignature) || errors.Is(cause, bundle.ErrFormat) {
		errs = append(errs, u.refresh())
		if r := u.facts.Slot(done.Slot).Record; r != nil && r.State == RecordWriting {
			r.State = RecordEmpty
			errs = append(errs, u.setRecord(done.Slot, r))
		}
	}
	if ctx.Err() == nil {
		errs = append(errs, u.record(Result{Action: ActionApply, Slot: done.Slot.String(), Version: done.Version, Code: 1, Message: cause.Error()}))
	}
	return errors.Join(errs...)
}
