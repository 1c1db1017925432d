package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// stageMapPath is the StageMap in abboot.
var stageMapPath = path.Join(bootctl.MigratorDir, "stage")

// aside is room for a file whose blocks lie outside of where gather streams
// to, in as many pieces as it takes.
type aside struct {
	// pieces are those of the carved file, in its order; stage is where they
	// lie on the disk when they are read one after another.
	pieces []partition.Run
	stage  partition.DeviceMap
}

// scatter makes the file at path so that n bytes of it lie outside of avoid.
// What is inside is given back in the end, and not before: meanwhile it keeps
// the file system from giving it again.
func (c *carver) scatter(path string, n int64, avoid span) (aside, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return aside{}, err
	}
	defer f.Close()
	n = roundUp(n, blockUnit)
	for {
		got, have, err := c.outside(f, n, avoid)
		if err != nil {
			return aside{}, err
		}
		if have >= n {
			if err := giveBack(f, place{pieces: got.pieces}); err != nil {
				return aside{}, err
			}
			return got, f.Sync()
		}
		if err := c.extend(f, n-have); err != nil {
			return aside{}, err
		}
	}
}

// extend allocates n bytes more at the end of a file.
func (c *carver) extend(f *os.File, n int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	budget, err := c.budget()
	if err != nil {
		return err
	}
	if n > budget {
		return errNoRun
	}
	err = unix.Fallocate(int(f.Fd()), 0, st.Size(), n)
	if errors.Is(err, unix.ENOSPC) {
		return errNoRun
	}
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("allocating %s for %s: %w", size(n), f.Name(), err)
	}
	return nil
}

// outside returns the first n bytes of a file that lie outside of avoid, and
// how many there are.
func (c *carver) outside(f *os.File, n int64, avoid span) (aside, int64, error) {
	onVolume, err := partition.FilePieces(f, partition.UnwrittenAllowed)
	if err != nil {
		return aside{}, 0, err
	}
	onDisk, err := onVolume.Through(c.volume)
	if err != nil {
		return aside{}, 0, fmt.Errorf("%s: %w", f.Name(), err)
	}
	var out aside
	have := int64(0)
	for _, r := range onDisk {
		for _, s := range (span{r.Disk, r.DiskEnd()}).minus([]span{avoid}) {
			// Whole blocks: what is cut off must not share one with slot a.
			from, to := roundUp(s.from, blockUnit), s.to/blockUnit*blockUnit
			length := min(to-from, n-have)
			if length <= 0 {
				continue
			}
			p := partition.Run{Start: r.Start + from - r.Disk, Disk: from, Len: length}
			out.pieces = append(out.pieces, p)
			out.stage = append(out.stage, partition.Run{Start: have, Disk: from, Len: length})
			have += length
		}
	}
	return out, have, nil
}

// staging is a file aside, open to be filled: written through its file
// system, read by disk address.
type staging struct {
	aside
	file device
	disk blockdev.Device
}

func (s *staging) WriteAt(p []byte, off int64) (done int, err error) {
	for i, at := range s.stage {
		from, to := max(off, at.Start), min(off+int64(len(p)), at.End())
		if from >= to {
			continue
		}
		n, err := s.file.WriteAt(p[from-off:to-off], s.pieces[i].Start+from-at.Start)
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

// reader reads the staged bytes [0, n) past the page cache: that of the disk
// knows nothing of what went through the file.
func (s *staging) reader(n int64) *stagedReader {
	return &stagedReader{file: stagedFile{s.disk, s.stage}, size: n, buf: blockdev.AlignedBuffer(1 << 20)}
}

// stagedReader is a bundle.Stream of what lies in pieces on the disk.
type stagedReader struct {
	file  stagedFile
	size  int64
	at    int64
	buf   []byte
	start int64 // of what buf holds; valid when filled
	full  bool
}

// Read implements io.Reader.
func (r *stagedReader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	if start := r.at / int64(len(r.buf)) * int64(len(r.buf)); !r.full || start != r.start {
		n := min(int64(len(r.buf)), mapSize(r.file.m)-start)
		if _, err := r.file.ReadAt(r.buf[:n], start); err != nil && err != io.EOF {
			return 0, err
		}
		r.start, r.full = start, true
	}
	n := copy(p, r.buf[r.at-r.start:min(int64(len(r.buf)), r.size-r.start)])
	r.at += int64(n)
	return n, nil
}

// Discard implements bundle.Stream.
func (r *stagedReader) Discard(n int64) error {
	r.at += n
	return nil
}

// verify reads the staged bundle and checks all of it. It returns how many of
// its bytes were found right: an interrupted download goes on there.
func (r *stagedReader) verify(ctx context.Context, f *offer, progress func(string, int64, int64)) (good int64, err error) {
	b, err := bundle.Open(r, f.keyring)
	if err != nil {
		return 0, err
	}
	if string(b.Envelope()) != string(f.envelope) {
		return 0, fmt.Errorf("%w: the bundle on the disk is another one", bundle.ErrSignature)
	}
	for {
		ir, err := b.Next()
		if err == io.EOF {
			return r.at, nil
		}
		if err != nil {
			return good, err
		}
		good = r.at
		err = eachFrame(ctx, ir, func() {
			good = r.at
			progress("verifying the bundle on the disk", good, r.size)
		})
		if err != nil {
			return good, err
		}
	}
}

// eachFrame reads and checks every frame of an image.
func eachFrame(ctx context.Context, ir *bundle.ImageReader, done func()) error {
	dec, err := bundle.NewDecoder(int(ir.Image().FrameSize))
	if err != nil {
		return err
	}
	defer dec.Close()
	compressed, plain := make([]byte, ir.MaxCompressed()), make([]byte, ir.Image().FrameSize)
	for _, f := range ir.Frames() {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, data, err := ir.ReadFrame(compressed)
		if err != nil {
			return err
		}
		if _, err := dec.Decode(plain, f, data); err != nil {
			return err
		}
		done()
	}
	return nil
}

// fetch brings the bundle to its place, from byte off on, and makes it
// durable.
func (s *staging) fetch(ctx context.Context, src source.Source, off, n int64, progress func(string, int64, int64)) (err error) {
	in, err := src.Open(ctx, off)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	buf := blockdev.AlignedBuffer(1 << 20)
	for off < n {
		progress("fetching the bundle", off, n)
		want := min(int64(len(buf)), n-off)
		got, err := io.ReadFull(in, buf[:want])
		if err != nil {
			return fmt.Errorf("reading the bundle at byte %d: %w", off+int64(got), err)
		}
		// Whole blocks: the last one ends in zeros.
		whole := roundUp(want, blockUnit)
		clear(buf[want:whole])
		if _, err := s.WriteAt(buf[:whole], off); err != nil {
			return fmt.Errorf("%w: the bundle: %w", update.ErrWrite, err)
		}
		off += want
	}
	progress("fetching the bundle", n, n)
	return s.file.Sync()
}

// encodeStage is the StageMap as abboot holds it.
func encodeStage(bundle, archive aside) ([]byte, error) {
	b, err := json.Marshal(StageMap{Bundle: bundle.stage, Archive: archive.stage})
	if err == nil && len(b) > maxStageMap {
		err = &refused{[]Refusal{{Code: "no-run", Reason: "gather: the bundle would lie in too many pieces", Next: "make room in the root file system"}}}
	}
	return b, err
}
