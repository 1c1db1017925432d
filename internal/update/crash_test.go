package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// bed is a device with version 1 in slot a and a bundle of version 2, and what
// its slots may hold when they boot.
type bed struct {
	v      *vendor
	base   *blockdevtest.Disk
	path   string // of the bundle
	layout bootctl.Layout
	images map[slot.ID][]byte
	buf    []byte
}

func newBed(t *testing.T, variant int) *bed {
	t.Helper()
	v := newVendor(t)
	b := &bed{v: v, images: map[slot.ID][]byte{
		slot.A: content(fmt.Sprint("1", variant), 2*mib),
		slot.B: content(fmt.Sprint("2", variant), 2*mib+512),
	}}
	b.base = v.newDisk(t, b.images[slot.A])
	b.path = v.bundleFile(t, b.images[slot.B], func(o *bundle.CreateOptions) {
		o.FrameSize = []int64{256 << 10, 64 << 10, 1 << 20, 128 << 10, 512 << 10}[variant%5]
	})
	if variant%2 == 1 { // the target is not empty: an older system, or the frames of this one
		_, err := b.base.WriteAt(b.images[slot.A+slot.ID(variant/2%2)], slotBAt)
		must(t, err)
	}
	b.layout = mustOpen(t, b.base.Clone(), slot.A, bootctl.WhyGood).dev.Store.Layout()
	b.buf = make([]byte, 2*mib+512)
	return b
}

// powerOn lets GRUB boot the disk, as the model has it, and checks that what
// boots is a complete system. GRUB's own writes come into the disk's log.
func (b *bed) powerOn(disk *blockdevtest.Disk) (slot.ID, bootctl.Why, error) {
	o := bootmodel.Machine{Dev: disk, Layout: b.layout, Files: func(s bootctl.System) bootmodel.Files {
		var start [blockdev.SectorSize]byte
		if id, ok := s.Slot(); !ok || b.read(disk, id, start[:]) != nil || start == [len(start)]byte{} {
			return bootmodel.Missing
		}
		return bootmodel.Loadable
	}}.BootFully()
	id, ok := o.System.Slot()
	if !ok {
		return 0, 0, fmt.Errorf("nothing boots: %v", o)
	}
	want := b.images[id]
	if err := b.read(disk, id, b.buf[:len(want)]); err != nil || !bytes.Equal(b.buf[:len(want)], want) {
		return 0, 0, fmt.Errorf("%v boots, and it is no complete system; %w", o, err)
	}
	return id, o.Why, nil
}

func (b *bed) read(disk *blockdevtest.Disk, id slot.ID, p []byte) error {
	at := int64(slotAAt)
	if id == slot.B {
		at = slotBAt
	}
	_, err := disk.ReadAt(p, at)
	return err
}

// The acknowledgements of update.
const (
	ackArmed = iota + 1
	ackCommitted
)

// errNotCommitted: GRUB could not count a try, and so put the trial off again
// and again.
var errNotCommitted = errors.New("after six boots the new system is not committed")

// update is the device's life from power-on to the new system, committed: what
// people, units and GRUB do, whatever state the disk is in.
func (b *bed) update(disk *blockdevtest.Disk) error {
	acks := 0
	acknowledge := func(upTo int) {
		for ; acks < upTo; acks++ {
			disk.Acknowledge()
		}
	}
	for range 6 { // boots
		id, why, err := b.powerOn(disk)
		if err != nil {
			return err
		}
		u, err := updater(disk, id, why)
		if err != nil {
			return err
		}
		switch phase := u.Facts().Phase(); phase {
		case PhaseIdle, PhaseWriting, PhaseWritten:
			if id == slot.B {
				return nil
			}
			if phase != PhaseWritten {
				if _, err := apply(u, b.path, ApplyOptions{}); err != nil {
					return err
				}
			}
			if err := u.Arm(context.Background()); err != nil {
				return err
			}
			acknowledge(ackArmed)
		case PhaseArmed: // GRUB put the trial off until the boot state is whole
		case PhaseTrial, PhaseLastResort:
			if err := u.Commit(); err != nil {
				return err
			}
			acknowledge(ackCommitted)
		}
	}
	return errNotCommitted
}

// TestCrashUpdate cuts the power at every write of an update, from apply over
// GRUB's try to the commit, and again on the way from there: one complete
// system boots, what was acknowledged holds, and the job is finished.
func TestCrashUpdate(t *testing.T) {
	for variant := range 2 * blockdevtest.Variants() {
		physical := []int{blockdev.SectorSize, 4096}[variant%2]
		t.Run(fmt.Sprintf("variant %d, sectors of %d", variant/2, physical), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, variant/2)
			b.base.SetPhysicalSector(physical)
			blockdevtest.Campaign{
				Base: b.base, Run: b.update, Recover: b.update, Recoveries: 2,
				Check: b.check,
			}.Test(t)
		})
	}
}

// check judges a cut in update.
func (b *bed) check(c blockdevtest.Crash) error {
	id, why, err := b.powerOn(c.Disk)
	if err != nil {
		return err
	}
	acked, done, torn := c.Acknowledged, c.Done, c.Policy == blockdevtest.Physical
	if c.First != nil {
		acked, done = max(acked, c.First.Acknowledged), done || c.First.Done
		torn = torn || c.First.Policy == blockdevtest.Physical
	}
	switch {
	case id == slot.A && why == bootctl.WhyGood:
		// A copy of the boot state torn with its physical sector puts the trial
		// off: GRUB does not risk the other copy.
		if acked == ackArmed && torn && !done {
			return nil
		}
		if acked >= ackArmed || done {
			return fmt.Errorf("slot a boots after acknowledgement %d", acked)
		}
		return nil
	case id == slot.B && why == bootctl.WhyTrial:
		if acked >= ackCommitted || done {
			return errors.New("a trial after the commit was acknowledged")
		}
		return nil
	case id == slot.B && why == bootctl.WhyGood:
		return nil
	}
	return fmt.Errorf("slot %v boots (%v)", id, why)
}
