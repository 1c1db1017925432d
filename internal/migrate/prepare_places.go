package migrate

import (
	"errors"
	"fmt"
	"os"

	"github.com/abupdate/abupdate/internal/preserve"
)

// settlePlaces gets the room that the plan counts on.
func (p *preparation) settlePlaces(a *attempt) error {
	type want struct {
		name string
		at   *Placement
	}
	var wants []want // the largest first
	if a.tier == Carve {
		wants = append(wants, want{fileSlotA, &a.a})
	}
	if a.copied != nil {
		wants = append(wants, want{fileData, a.copied})
	}
	wants = append(wants, want{fileAbboot, &a.boot})
	pending := int64(0)
	for _, w := range wants {
		if w.at.Source == SourceFile {
			pending += w.at.Size
		}
	}
	c := &carver{volume: p.survey.Root().Map, usable: p.survey.usable()}
	for _, w := range wants {
		if w.at.Source != SourceFile {
			continue
		}
		pending -= w.at.Size
		c.budget = func() (int64, error) {
			_, free, err := p.statfs("/")
			return free - oldReserve - pending, err
		}
		path, err := p.carvedPath(w.name)
		if err != nil {
			return err
		}
		got, err := c.carve(path, w.at.Size)
		if errors.Is(err, errNoRun) {
			r := Refusal{
				Code: "no-run", Next: "give a smaller --slot-size, make room, or use --tier gather",
				Reason: fmt.Sprintf("the root file system does not give %s in one contiguous run for %s", size(w.at.Size), w.name),
			}
			return &refused{[]Refusal{r}}
		}
		if err != nil {
			return err
		}
		w.at.Start, w.at.Estimated = got.region.Start, false
	}
	root, err := os.OpenRoot(p.root)
	if err != nil {
		return err
	}
	defer root.Close()
	// Of the machine that runs: names may change, MAC addresses stay.
	j, err := a.settle(p.offer, preserve.ReadHost(preserve.DirTree(root)))
	if err != nil {
		return err
	}
	*p.j = *j
	return p.save()
}

func (h *host) setProtection(name string, on bool) error {
	path, err := h.findCarved(name)
	if err != nil || path == "" {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return setImmutable(f, on)
}

// protect makes the carved files immutable and then asks once more where they
// lie.
func (p *preparation) protect() error {
	for _, name := range carvedFiles {
		if err := p.setProtection(name, true); err != nil {
			return err
		}
	}
	return p.checkPlaces(p.survey, p.disk, p.j)
}

// checkPlaces makes sure that each region is the migration's still, and that
// the old system's file system takes what was written there for written.
func (h *host) checkPlaces(s *Survey, disk device, j *Journal) error {
	type part struct {
		name    string
		at      Region
		written int64
	}
	parts := []part{{fileAbboot, j.Boot, j.Boot.Size}}
	if j.Tier == Gather {
		if err := h.checkStage(s, j); err != nil {
			return err
		}
	} else {
		parts = append(parts, part{fileSlotA, j.A, j.ImageSize})
	}
	for _, w := range parts {
		r, err := h.openRegion(s, disk, w.name, w.at, false)
		if err != nil {
			return err
		}
		ok := r.isWritten(0, w.written)
		if err := r.Close(); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s: %w: its file system takes a part of it for never written", w.name, errMoved)
		}
	}
	return nil
}
