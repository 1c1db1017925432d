package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/update"
)

// PrepareOptions say what to prepare, and by whose authority.
type PrepareOptions struct {
	Source  source.Source
	Keyring *bundle.Keyring
	// Compatible is the kind of this device, Product its product; "" for the
	// product means that of the bundle.
	Compatible, Product string
	AgentVersion        string
	SlotSize            int64 // 0: by the bundle
	Tier                Tier  // 0: carve
	// Initramfs packs the migrator for the running kernel, with modules that
	// must be there.
	Initramfs func(w io.Writer, need []string) error
	Progress  func(label string, done, total int64)
	Notice    func(text string)
}

// Prepared is the outcome of Prepare.
type Prepared struct {
	Journal      *Journal
	Already      bool // nothing was left to do
	BytesWritten int64
	BytesReused  int64
}

// Prepare puts everything in its place while the old system runs and its boot
// loader is in charge: nothing of what it writes is read by anyone before
// Start. Interrupted, it goes on where it was when it is called again; Abort
// undoes it.
//
// All that speaks against a migration is found before the first write.
func Prepare(ctx context.Context, o PrepareOptions) (*Prepared, error) {
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	unlock, err := h.lock()
	if err != nil {
		return nil, err
	}
	defer unlock.Close()
	return h.prepare(ctx, o)
}

// preparation is one run of prepare.
type preparation struct {
	*host
	o      PrepareOptions
	offer  *offer
	survey *Survey
	disk   device
	j      *Journal
	save   func() error // makes the journal durable, wherever it is
	done   Prepared
}

func (h *host) prepare(ctx context.Context, o PrepareOptions) (*Prepared, error) {
	p := &preparation{host: h, o: o}
	boot, err := h.inCharge()
	if err != nil {
		return nil, err
	}
	if p.offer, err = readOffer(ctx, o); err != nil {
		return nil, err
	}
	if boot != nil {
		err = p.again(ctx, boot)
	} else {
		err = p.first(ctx)
	}
	if p.disk != nil {
		err = errors.Join(err, p.disk.Close())
	}
	if err != nil {
		return nil, err
	}
	p.done.Journal = p.j
	return &p.done, nil
}

// inCharge returns how our GRUB has booted the old system; nil when the old
// system's own loader did. A slot's system has nothing to prepare.
func (h *host) inCharge() (*bootctl.Cmdline, error) {
	boot, err := h.bootedBy()
	if err != nil || boot == nil || boot.System == bootctl.SystemOld {
		return boot, err
	}
	return nil, &refused{[]Refusal{{
		Code: "already-ab", Reason: fmt.Sprintf("this is an A/B device already: it runs system %v", boot.System), Next: "see: abupdate migrate status",
	}}}
}

// first prepares while the old loader is in charge: the journal is a file.
func (p *preparation) first(ctx context.Context) (err error) {
	if p.j, err = p.readJournalFile(); err != nil {
		p.o.Notice(fmt.Sprintf("the journal of an earlier prepare cannot be used, starting over: %v", err))
		p.j = nil
	}
	if p.j != nil && len(p.j.Undo) > 0 {
		return withHint(fmt.Errorf("%w: an earlier start was interrupted in the middle of the switch", ErrRefused),
			"finish it: abupdate migrate start; or take it back: abupdate migrate abort")
	}
	if p.j != nil {
		reason, err := p.resume(ctx)
		if err != nil || reason == "" {
			return err
		}
		p.o.Notice("what an earlier prepare has left cannot be used, starting over: " + reason)
	}
	// A journal that is not settled, or none, goes with files that nobody
	// knows the addresses of. What is read-only is refused in a moment.
	if err := p.removeFiles(); err != nil && !errors.Is(err, unix.EROFS) {
		return err
	}
	return p.anew(ctx)
}

// resume goes on with the places of an earlier run. It returns why they cannot
// be used, "" when they could.
func (p *preparation) resume(ctx context.Context) (string, error) {
	j := p.j
	switch {
	case j.Boot == (Region{}):
		return "it had not found its places yet", nil
	case p.o.SlotSize != 0 && p.o.SlotSize != j.SlotSize:
		return fmt.Sprintf("its slots have %s", size(j.SlotSize)), nil
	case p.o.Tier != "" && p.o.Tier != j.Tier:
		return fmt.Sprintf("it was %s", j.Tier), nil
	case p.offer.root.Size > j.SlotSize:
		return "the new image is larger than its slots", nil
	}
	s, _, err := p.surveyMachine()
	if err != nil {
		return "", err
	}
	if err := s.checkUnchanged(j); err != nil {
		return err.Error(), nil
	}
	p.survey = s
	if err := p.refuseHere(); err != nil {
		return "", err
	}
	if err := p.openDisk(); err != nil {
		return "", err
	}
	p.save = func() error { return p.writeJournalFile(j) }
	if j.Phase == PhasePrepared && j.ImageSHA256 == p.offer.root.SHA256.String() && j.Version == p.offer.manifest.Version {
		if changed, err := p.changedBootFile(j); err != nil || changed == "" {
			p.done.Already = err == nil
			return "", err
		}
	}
	err = p.fill(ctx)
	if errors.Is(err, errMoved) {
		return err.Error(), nil
	}
	return "", err
}

// anew finds places for everything and fills them.
func (p *preparation) anew(ctx context.Context) error {
	s, err := p.host.survey(ctx)
	if err != nil {
		return err
	}
	p.survey = s
	plan, a := newPlan(s, Options{SlotSize: p.o.SlotSize, Tier: p.o.Tier, Bundle: p.offer.planned()})
	if err := plan.Err(); err != nil {
		return err
	}
	if err := p.refuseHere(); err != nil {
		return err
	}
	// The first write. Until the places are settled the same command starts
	// over, and abort finds what there is.
	p.j = &Journal{Format: 1, Phase: PhasePreparing, Tier: a.tier, Layout: plan.Layout}
	p.save = func() error { return p.writeJournalFile(p.j) }
	if err := p.save(); err != nil {
		return err
	}
	if err := p.settlePlaces(a); err != nil {
		return errors.Join(err, p.removeFiles())
	}
	if err := p.openDisk(); err != nil {
		return err
	}
	if err := p.fill(ctx); errors.Is(err, ErrRefused) {
		return errors.Join(err, p.removeFiles())
	} else if err != nil {
		return err
	}
	return nil
}

func (p *preparation) openDisk() (err error) {
	p.disk, err = p.openWrite(p.survey.Disk.Name)
	return err
}

// fill writes everything to its place and reads it back.
func (p *preparation) fill(ctx context.Context) error {
	if p.j.Tier == Gather {
		return p.fillGather(ctx)
	}
	return p.fillCarve(ctx)
}

// fillCarve writes slot a and abboot.
func (p *preparation) fillCarve(ctx context.Context) (err error) {
	slot, err := p.openMine(fileSlotA, p.j.A)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, slot.Close()) }()
	boot, err := p.openMine(fileAbboot, p.j.Boot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, boot.Close()) }()

	p.j.Phase, p.j.Reason = PhasePreparing, ""
	p.j.offered(p.offer)
	if err := p.save(); err != nil {
		return err
	}
	files, err := p.packBootFiles()
	if err != nil {
		return err
	}
	defer closeBootFiles(files)
	if err := p.writeSlot(ctx, slot); err != nil {
		return err
	}
	if err := p.j.writeAbboot(boot, p.disk, p.offer, p.o, files); err != nil {
		return fmt.Errorf("%w: abboot: %w", update.ErrWrite, err)
	}
	return p.finishFill()
}

// finishFill is the end of every preparation.
func (p *preparation) finishFill() error {
	if p.j.Firmware == "uefi" {
		if err := p.writeLoader(p.survey, p.offer.boot.EFI); err != nil {
			return err
		}
		p.j.EFILoader = hashBytes(p.offer.boot.EFI)
	}
	if err := p.protect(); err != nil {
		return err
	}
	// COMMIT POINT of prepare: everything is in its place and has been read
	// back. It is no commitment: only start acts on it.
	p.j.Phase = PhasePrepared
	return p.save()
}

// openMine opens a region for writing, and takes the protection off its file.
func (p *preparation) openMine(name string, r Region) (*region, error) {
	if err := p.setProtection(name, false); err != nil {
		return nil, err
	}
	return p.openRegion(p.survey, p.disk, name, r, true)
}

// packBootFiles packs the migrator and opens all that goes to abboot.
func (p *preparation) packBootFiles() ([]bootSource, error) {
	path, err := p.carvedPath(fileInitramfs)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	// Nothing of it outlives this run: an interrupted one packs it again.
	if err := errors.Join(p.o.Initramfs(f, p.needModules()), f.Close()); err != nil {
		return nil, fmt.Errorf("packing the migrator: %w", err)
	}
	files, err := p.openBootFiles(p.survey.Machine.Kernel)
	if err != nil {
		return nil, err
	}
	os.Remove(path) // it stays open
	return files, nil
}
