package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/update"
)

// again prepares another attempt on an old system that our GRUB has brought
// back: only slot a is written anew. abboot is what the device boots from now,
// so its files stay as they are.
func (p *preparation) again(ctx context.Context, boot *bootctl.Cmdline) (err error) {
	c, err := p.openCharge(boot, true)
	if err != nil {
		return err
	}
	p.disk = c.disk
	if err := c.check(); err != nil {
		return err
	}
	p.j, p.save = c.j, c.save
	if err := p.refuseAgain(c); err != nil {
		return err
	}
	if p.survey, _, err = p.surveyMachine(); err != nil {
		return err
	}
	if err := p.survey.checkUnchanged(p.j); err != nil {
		return withHint(fmt.Errorf("%w: %w", ErrRefused, err), "abupdate migrate abort, then prepare anew")
	}
	if p.j.Phase == PhasePrepared && p.j.ImageSHA256 == p.offer.root.SHA256.String() && p.j.Version == p.offer.manifest.Version {
		p.done.Already = true
		return nil
	}
	if p.j.Tier == Gather {
		return p.againGather()
	}
	return p.rewriteSlot(ctx, c.store)
}

// againGather goes on with the bundle that lies on the disk: its place is
// fixed in abboot.
func (p *preparation) againGather() error {
	if p.j.ImageSHA256 != p.offer.root.SHA256.String() || p.j.Version != p.offer.manifest.Version {
		return withHint(fmt.Errorf("%w: gather has laid another bundle aside, %s %s", ErrRefused, p.j.Product, p.j.Version),
			"go on with that one: abupdate migrate start --accept-no-return; or begin anew: abupdate migrate abort, reboot, then prepare")
	}
	p.j.Phase = PhasePrepared
	return p.save()
}

// refuseAgain holds the bundle against what is there already.
func (p *preparation) refuseAgain(c *charge) error {
	j := p.j
	switch j.Phase {
	case PhasePreparing, PhasePrepared, PhaseStarted, PhaseTrial, PhaseFailed:
	case PhaseStreaming, PhaseCommitted, PhaseFinishing, PhaseDone:
		return fmt.Errorf("%w: the migration is in the phase %q, and this is the old system", ErrRefused, j.Phase)
	}
	if p.o.SlotSize != 0 && p.o.SlotSize != j.SlotSize || p.o.Tier != "" && p.o.Tier != j.Tier {
		return withHint(fmt.Errorf("%w: this migration is %s with slots of %s", ErrRefused, j.Tier, size(j.SlotSize)),
			"to begin another one: abupdate migrate abort, reboot, then prepare")
	}
	if p.offer.root.Size > j.SlotSize {
		return withHint(fmt.Errorf("%w: the image has %s, and the slots have %s", update.ErrNoFit, size(p.offer.root.Size), size(j.SlotSize)),
			"to begin anew with larger slots: abupdate migrate abort, reboot, then prepare")
	}
	b, err := c.store.Record(bootctl.RecordDevice)
	if err != nil {
		return err
	}
	device, err := update.ParseDeviceRecord(b)
	if err != nil {
		return fmt.Errorf("%w: %w", bootctl.ErrBootState, err)
	}
	if p.offer.root.Filesystem != "" {
		if err := bootctl.CanRead(device.GrubVersion, p.offer.root.Filesystem, p.offer.root.FilesystemFeatures); err != nil {
			return fmt.Errorf("%w: %w", bundle.ErrIncompatible, err)
		}
	}
	return nil
}

// rewriteSlot makes the boot state one in which only the old system boots, and
// then writes slot a.
func (p *preparation) rewriteSlot(ctx context.Context, store *bootctl.Store) (err error) {
	state, _, err := store.State()
	if err != nil {
		return err
	}
	// Each line is durable before the next, and a cut after any of them boots
	// the old system.
	p.j.Phase = PhasePreparing
	p.j.offered(p.offer)
	for _, step := range []func() error{
		func() error { return store.SetState(bootctl.BackToOld(state)) },
		func() error { return store.InvalidateArgs(bootctl.SystemA) },
		p.save,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	slot, err := p.openMine(fileSlotA, p.j.A)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, slot.Close()) }()
	if err := p.writeSlot(ctx, slot); err != nil {
		return err
	}
	if err := p.setProtection(fileSlotA, true); err != nil {
		return err
	}
	record, err := p.offer.slotRecord()
	if err != nil {
		return err
	}
	if err := store.SetRecord(bootctl.RecordSlotA, record); err != nil {
		return err
	}
	// COMMIT POINT: as in the first preparation.
	p.j.Phase = PhasePrepared
	return p.save()
}
