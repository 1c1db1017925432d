package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/partition"
	"github.com/abupdate/abupdate/internal/update"
)

// makeStage finds room for what gather streams from, outside of slot a.
func (p *preparation) makeStage() (bundleAt, archiveAt aside, err error) {
	avoid := span{p.j.A.Start, p.j.A.End()}
	c := &carver{volume: p.survey.Root().Map, usable: p.survey.usable()}
	pending := archiveSize
	c.budget = func() (int64, error) {
		_, free, err := p.statfs("/")
		return free - oldReserve - pending, err
	}
	at := func(name string, n int64) (aside, error) {
		if err := p.setProtection(name, false); err != nil {
			return aside{}, err
		}
		path, err := p.carvedPath(name)
		if err != nil {
			return aside{}, err
		}
		got, err := c.scatter(path, n, avoid)
		if errors.Is(err, errNoRun) {
			err = &refused{[]Refusal{{
				Code: "no-room", Next: "make room in the root file system",
				Reason: fmt.Sprintf("gather: the root file system does not give %s for the %s outside of where slot a will be", size(n), name),
			}}}
		}
		return got, err
	}
	if bundleAt, err = at(fileBundle, p.offer.size); err != nil {
		return bundleAt, archiveAt, err
	}
	pending = 0
	archiveAt, err = at(fileArchive, archiveSize)
	return bundleAt, archiveAt, err
}

// stageBundle brings the bundle to its place and reads it back. A download
// goes on behind what was found right.
func (p *preparation) stageBundle(ctx context.Context, at aside) error {
	file, err := p.findCarved(fileBundle)
	if err != nil {
		return err
	}
	f, err := p.openWrite(file)
	if err != nil {
		return err
	}
	defer f.Close()
	s := &staging{aside: at, file: f, disk: p.disk}
	n := p.offer.size
	good, err := s.reader(n).verify(ctx, p.offer, p.o.Progress)
	if ctx.Err() != nil {
		return err
	}
	// What is right on the disk but not written in the eyes of the file system
	// came right before a cut: it is written again.
	written, checkErr := at.firstUnwritten(file)
	if checkErr != nil {
		return checkErr
	}
	if good = min(good, written); err == nil && good == n {
		p.done.BytesReused = n
		return nil
	}
	from := good / blockUnit * blockUnit
	p.done.BytesReused = from
	if err := s.fetch(ctx, p.o.Source, from, n, p.o.Progress); err != nil {
		return fetchError(err)
	}
	p.done.BytesWritten += n - from
	if _, err := s.reader(n).verify(ctx, p.offer, p.o.Progress); err != nil {
		return fmt.Errorf("reading back the bundle: %w", err)
	}
	return nil
}

// firstUnwritten returns how many of the staged bytes are written in the eyes
// of the file system, up to the first that are not.
func (a *aside) firstUnwritten(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	extents, err := partition.FileExtents(f)
	if err != nil {
		return 0, err
	}
	first := mapSize(a.stage)
	for _, e := range extents {
		if e.Flags&partition.ExtentUnwritten == 0 {
			continue
		}
		for i, p := range a.pieces {
			if from := max(p.Start, e.Logical); from < min(p.End(), e.Logical+e.Len) {
				first = min(first, a.stage[i].Start+from-p.Start)
			}
		}
	}
	return first, nil
}

// fetchError says that a server's short answer is a matter of the download.
func fetchError(err error) error {
	if errors.Is(err, source.ErrDownload) || errors.Is(err, update.ErrWrite) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", source.ErrDownload, err)
}

// fillGather puts the bundle aside and makes abboot; slot a is left for the
// migrator to overwrite the old system with.
func (p *preparation) fillGather(ctx context.Context) (err error) {
	if p.offer.size < 0 {
		return withHint(fmt.Errorf("%w: the server does not say how long the bundle is", ErrRefused), "download it, and give the file")
	}
	boot, err := p.openMine(fileAbboot, p.j.Boot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, boot.Close()) }()
	p.j.Phase, p.j.Reason, p.j.Stage = PhasePreparing, "", nil
	p.j.offered(p.offer)
	if err := p.save(); err != nil {
		return err
	}
	bundleAt, archiveAt, err := p.makeStage()
	if err != nil {
		return err
	}
	if err := p.stageBundle(ctx, bundleAt); err != nil {
		return err
	}
	stage, err := encodeStage(bundleAt, archiveAt)
	if err != nil {
		return err
	}
	files, err := p.packBootFiles()
	if err != nil {
		return err
	}
	defer closeBootFiles(files)
	files = append(files, bootSource{
		BootFile: BootFile{Path: stageMapPath, At: Region{Size: int64(len(stage))}, SHA256: hashBytes(stage)}, content: bytes.NewReader(stage),
	})
	if err := p.j.writeAbboot(boot, p.disk, p.offer, p.o, files); err != nil {
		return fmt.Errorf("%w: abboot: %w", update.ErrWrite, err)
	}
	for _, b := range p.j.BootFiles {
		if b.Path == stageMapPath {
			p.j.Stage = &Stage{Map: b.At, MapSHA256: b.SHA256, BundleSize: p.offer.size}
		}
	}
	return p.finishFill()
}

// checkStage makes sure that bundle and archive lie where the stage map says.
func (h *host) checkStage(s *Survey, j *Journal) error {
	if j.Stage == nil {
		return fmt.Errorf("%w: it tells of no bundle on the disk", ErrJournal)
	}
	c := &carver{volume: s.Root().Map, usable: s.usable()}
	var at [2]aside
	for i, w := range []struct {
		name string
		size int64
	}{{fileBundle, j.Stage.BundleSize}, {fileArchive, archiveSize}} {
		path, err := h.findCarved(w.name)
		if err != nil {
			return err
		}
		if path == "" {
			return fmt.Errorf("the %s: %w: the file is not there", w.name, errMoved)
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		at[i], _, err = c.outside(f, roundUp(w.size, blockUnit), span{j.A.Start, j.A.End()})
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	b, err := encodeStage(at[0], at[1])
	if err != nil {
		return err
	}
	if hashBytes(b) != j.Stage.MapSHA256 {
		return fmt.Errorf("the bundle or the room for the archive: %w", errMoved)
	}
	return nil
}
