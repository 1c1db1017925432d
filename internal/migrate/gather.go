package migrate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/preserve"
	"github.com/abupdate/abupdate/internal/update"
)

// gather prepares the point of no return, passes it, and streams. All that the
// new system is made of has been read and found right before.
func (m *Migrator) gather(ctx context.Context) error {
	if err := m.Store.InvalidateArgs(bootctl.SystemA); err != nil {
		return err
	}
	stage, err := readStage(m.Disk, m.journal)
	if err != nil {
		return err
	}
	m.Log.Printf("verifying the bundle: %d bytes", m.journal.Stage.BundleSize)
	if err := m.streamFrames(ctx, stage, nil); err != nil {
		return err
	}
	if err := m.copyKept(ctx); err != nil {
		return err
	}
	if err := m.captureArchive(ctx, stage); err != nil {
		return err
	}
	// COMMIT POINT, the point of no return: one sector. From here on the old
	// system does not boot any more, and the migrator stands for it.
	if err := m.Store.InvalidateArgs(bootctl.SystemOld); err != nil {
		return err
	}
	m.oldBoots = false
	return m.stream(ctx)
}

// stream makes slot a complete from the stage alone. Behind the point of no
// return it is done again until it works: after a cut, and after a trial that
// failed.
func (m *Migrator) stream(ctx context.Context) error {
	m.Log.Printf("streaming the new system over the old one")
	if err := m.save(func(j *Journal) { j.Phase = PhaseStreaming }); err != nil {
		return err
	}
	// As long as this is the boot state, a turn of the migrator that is cut is
	// not taken for a trial that failed.
	if err := m.Store.SetState(bootctl.StartMigration(m.state, migratorTries)); err != nil {
		return err
	}
	var err error
	if m.state, _, err = m.Store.State(); err != nil {
		return err
	}
	if err := m.Store.InvalidateArgs(bootctl.SystemA); err != nil {
		return err
	}
	stage, err := readStage(m.Disk, m.journal)
	if err != nil {
		return err
	}
	old, err := m.readArchive(stage)
	if err != nil {
		return err
	}
	dev, err := m.slotA()
	if err != nil {
		return err
	}
	if err := m.streamFrames(ctx, stage, dev); err != nil {
		return err
	}
	manifest, err := m.signedManifest()
	if err != nil {
		return err
	}
	image, ok := manifest.Image(rootImage)
	if !ok {
		return fmt.Errorf("internal error: no image %q in what was streamed", rootImage)
	}
	args, err := m.restoreFrom(ctx, old, image)
	if err != nil {
		return err
	}
	if err := m.settleKept(); err != nil {
		return err
	}
	return m.giveTrial(image, args)
}

// streamFrames reads the whole bundle off the stage and checks every frame. The
// root image goes to dev, and is read back; with dev nil nothing is written.
func (m *Migrator) streamFrames(ctx context.Context, stage *StageMap, dev blockdev.Device) error {
	r, err := m.openBundle(stage)
	if err != nil {
		return err
	}
	written := false
	for {
		ir, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if ir.Image().Name != rootImage {
			continue
		}
		written = true
		if err := m.streamImage(ctx, ir, dev); err != nil {
			return err
		}
	}
	if !written {
		return fmt.Errorf("%w: the bundle has no image %q", bundle.ErrFormat, rootImage)
	}
	return nil
}

// openBundle verifies the bundle's head. It must be the very one that prepare
// found right for this device.
func (m *Migrator) openBundle(stage *StageMap) (*bundle.Reader, error) {
	b, err := m.Store.Record(bootctl.RecordSlotA)
	if err != nil {
		return nil, fmt.Errorf("reading the record of slot a: %w", err)
	}
	record, err := update.ParseSlotRecord(b)
	if err != nil {
		return nil, err
	}
	trusted, err := m.keyring()
	if err != nil {
		return nil, err
	}
	file := io.NewSectionReader(stagedFile{m.Disk, stage.Bundle}, 0, m.journal.Stage.BundleSize)
	r, err := bundle.Open(bundle.NewStream(file), trusted)
	if err != nil {
		return nil, fmt.Errorf("the bundle on the disk: %w", err)
	}
	if !bytes.Equal(r.Envelope(), record.Envelope) {
		return nil, fmt.Errorf("%w: the bundle on the disk is another one than prepare has seen", bundle.ErrSignature)
	}
	return r, nil
}

// streamImage moves the frames of an image to dev, one at a time: two frames
// and a decoder are all the memory that it takes, however large the bundle is.
func (m *Migrator) streamImage(ctx context.Context, ir *bundle.ImageReader, dev blockdev.Device) error {
	image := ir.Image()
	var slot *partition.SlotWriter
	label := "verifying the bundle"
	if dev != nil {
		var err error
		if slot, err = partition.NewSlotWriter(dev, image.Size); err != nil {
			return err
		}
		label = "writing slot a"
	}
	dec, err := bundle.NewDecoder(int(image.FrameSize))
	if err != nil {
		return err
	}
	defer dec.Close()
	plain, compressed := blockdev.AlignedBuffer(int(image.FrameSize)), make([]byte, ir.MaxCompressed())
	pieces := make([]partition.Piece, 0, len(ir.Frames()))
	for _, f := range ir.Frames() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.moveFrame(ir, f, dec, plain, compressed, slot); err != nil {
			return err
		}
		pieces = append(pieces, piece(f))
		m.Log.Progress(label, f.Off+f.Len, image.Size)
	}
	if slot == nil {
		return nil
	}
	if err := slot.Finish(); err != nil {
		return err
	}
	m.Log.Printf("reading slot a back")
	return slot.Verify(ctx, pieces, func(done int64) { m.Log.Progress("reading slot a back", done, image.Size) })
}

// moveFrame checks the next frame and writes it, unless the slot has it from
// an earlier turn.
func (m *Migrator) moveFrame(ir *bundle.ImageReader, f bundle.Frame, dec *bundle.Decoder, plain, compressed []byte, slot *partition.SlotWriter) error {
	if slot != nil {
		if held, err := slot.Holds(piece(f)); err != nil || held {
			return errors.Join(err, ir.SkipFrame())
		}
	}
	_, b, err := ir.ReadFrame(compressed)
	if err == io.EOF {
		err = fmt.Errorf("%w: the bundle ends before its last frame", bundle.ErrFormat)
	}
	if err != nil {
		return err
	}
	out, err := dec.Decode(plain, f, b)
	if err != nil || slot == nil {
		return err
	}
	return slot.WriteFrame(f.Off, out)
}

func piece(f bundle.Frame) partition.Piece {
	return partition.Piece{Off: f.Off, Len: f.Len, SHA256: f.SHA256}
}

// captureArchive writes what a restore needs of the old system to its place,
// reads it back, and notes its hash.
func (m *Migrator) captureArchive(ctx context.Context, stage *StageMap) error {
	m.Log.Printf("capturing the configuration")
	file := stagedFile{m.Disk, stage.Archive}
	w := &archiveWriter{w: io.NewOffsetWriter(file, 0), room: mapSize(stage.Archive)}
	buffered := bufio.NewWriterSize(w, 1<<20)
	err := m.withOld(func(old *oldSystem) error {
		tree := preserve.DirTree(old.root)
		// The new image cannot be looked into yet. What the vendor wants carried
		// is in the package that the old system runs, too.
		policy, err := m.policy(tree, tree)
		if err != nil {
			return err
		}
		return preserve.Capture(ctx, tree, policy, buffered)
	})
	if err != nil {
		return err
	}
	if err := errors.Join(buffered.Flush(), m.Disk.Sync()); err != nil {
		return fmt.Errorf("writing the archive of the configuration: %w", err)
	}
	sum, err := m.archiveSum(stage, w.size)
	if err != nil {
		return err
	}
	// A cut before this leaves the old system in charge, as before.
	err = m.save(func(j *Journal) { j.Stage.ArchiveSize, j.Stage.ArchiveSHA256 = w.size, sum })
	if err != nil {
		return err
	}
	_, err = m.readArchive(stage)
	return err
}

// archiveWriter counts what it writes, and says in words when there is no room.
type archiveWriter struct {
	w    io.Writer
	size int64
	room int64
}

func (a *archiveWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > a.room-a.size {
		return 0, fmt.Errorf("the configuration to carry over is larger than the %d bytes that were set aside for it: name less of it in /etc/abupdate/preserve.d", a.room)
	}
	n, err := a.w.Write(p)
	a.size += int64(n)
	return n, err
}

func (m *Migrator) archiveSum(stage *StageMap, size int64) (string, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.NewSectionReader(stagedFile{m.Disk, stage.Archive}, 0, size), blockdev.AlignedBuffer(1<<20))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("reading the archive of the configuration: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readArchive opens the archive as the journal knows it.
func (m *Migrator) readArchive(stage *StageMap) (preserve.Tree, error) {
	s := m.journal.Stage
	if s.ArchiveSize <= 0 || s.ArchiveSize > mapSize(stage.Archive) {
		return nil, fmt.Errorf("%w: an archive of %d bytes", ErrJournal, s.ArchiveSize)
	}
	sum, err := m.archiveSum(stage, s.ArchiveSize)
	if err != nil {
		return nil, err
	}
	if sum != s.ArchiveSHA256 {
		return nil, fmt.Errorf("%w: the archive of the configuration is not what was written", ErrJournal)
	}
	return preserve.ReadArchive(stagedFile{m.Disk, stage.Archive}, s.ArchiveSize)
}
