// Package update brings a device with two slots from one system to the next.
//
// The functional core is Decide: a pure function from Facts, which are read
// from the disk at each start, and a Command to the next Step. Updater is the
// thin shell that carries steps out.
//
// Invariant: the running slot, if it is committed, stays bootable and primary
// until ONE sector, the armed boot state, is durable. Start with Open.
package update

import (
	"errors"
	"fmt"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/slot"
)

// Updater carries out commands on one device.
type Updater struct {
	dev   *Device
	facts *Facts
	trust *Trust
	o     Options

	repaired bool // a copy of the boot state or of the address table was broken
}

// Options are the surroundings of an Updater.
type Options struct {
	// AgentVersion is this program's version: bundles may ask for a minimum.
	AgentVersion string
	// Tries is how many trial boots a new system gets (1 to 9).
	Tries int
	// Now is the wall clock, for dates in the history; nothing is decided by it.
	Now func() time.Time
	// Progress is called now and then from one goroutine at a time.
	Progress func(label string, done, total int64)
	// Notice is called with what the user should know although all goes on.
	Notice func(format string, args ...any)
}

// Open reads the facts of dev. A device opened for writing is also brought in
// order: boot state copies re-synced or rebuilt, the end of a trial recorded.
func Open(dev *Device, o Options) (*Updater, error) {
	if o.Tries == 0 {
		o.Tries = bootctl.DefaultTries
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Notice == nil {
		o.Notice = func(string, ...any) {}
	}
	u := &Updater{dev: dev, o: o}
	if dev.writing {
		if err := u.requireOurs(); err != nil {
			return nil, err
		}
		if err := u.repair(); err != nil {
			return nil, err
		}
	}
	if err := u.refresh(); err != nil {
		return nil, err
	}
	if dev.writing {
		if err := u.settle(); err != nil {
			return nil, err
		}
		if err := u.keepTrust(); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// keepTrust makes up for a cut between a commit and the records that follow
// it. The running system proves what they must say, but only as long as it
// runs: GRUB may go back to an older one, which must not be believed.
func (u *Updater) keepTrust() error {
	if !u.facts.Boot.Flags(u.facts.Running).OK {
		return nil
	}
	return u.trust.store(u.dev.Store)
}

// Device returns the device that the Updater works on.
func (u *Updater) Device() *Device { return u.dev }

// Facts returns what the last step left.
func (u *Updater) Facts() *Facts { return u.facts }

// requireOurs refuses to write while another boot loader is in charge: it
// would not see what we write.
func (u *Updater) requireOurs() error {
	if u.dev.Foreign == "" {
		return nil
	}
	return withHint(fmt.Errorf("%w: another boot loader is in charge: %s", bootctl.ErrBootState, u.dev.Foreign),
		"boot the device with the boot loader that abupdate installed (see: abupdate doctor), then try again")
}

// repair makes both copies of the boot state whole again, so that one broken
// sector never blocks updates.
func (u *Updater) repair() error {
	said, err := u.dev.Store.Repair(bootctl.SystemOf(u.dev.Running))
	if err != nil {
		return fmt.Errorf("repairing the boot state: %w", err)
	}
	u.repaired = said != ""
	if u.repaired {
		u.o.Notice("the boot state was repaired: %s", said)
	}
	return nil
}

// refresh reads the facts anew.
func (u *Updater) refresh() error {
	state, _, err := u.dev.Store.State()
	if errors.Is(err, bootctl.ErrBothBroken) && !u.dev.writing {
		// What the next command that writes makes of it.
		state, err = bootctl.Rebuilt(bootctl.SystemOf(u.dev.Running)), nil
	}
	if err != nil {
		return err
	}
	f := &Facts{Boot: state, Running: u.dev.Running, Why: u.dev.Why}
	valid := u.dev.argsValid()
	for _, id := range slot.All {
		s := f.Slot(id)
		s.ArgsValid = valid[state.Occupant(id)]
		if state.Occupant(id) == bootctl.SystemOld {
			s.ArgsValid = s.ArgsValid || valid[bootctl.SystemMigrator] // it stands for the old system
		}
		if s.Record, s.Manifest, err = u.slotRecord(id); err != nil {
			// A broken record is no record: the slot can be written again, and
			// what may boot is decided elsewhere.
			u.o.Notice("what was known about slot %v is unreadable and ignored: %v", id, err)
		}
	}
	u.facts = f
	u.trust, err = loadTrust(u.dev.Store, f)
	return err
}

func (u *Updater) slotRecord(id slot.ID) (*SlotRecord, *bundle.Manifest, error) {
	b, err := u.dev.Store.Record(recordOf(id))
	if err != nil || len(b) == 0 {
		return nil, nil, err
	}
	r, err := ParseSlotRecord(b)
	if err != nil {
		return nil, nil, err
	}
	m, err := bundle.StoredManifest(r.Envelope)
	if err != nil {
		return nil, nil, err
	}
	return r, m, nil
}

func recordOf(id slot.ID) bootctl.RecordID {
	if id == slot.B {
		return bootctl.RecordSlotB
	}
	return bootctl.RecordSlotA
}

// setRecord stores what is claimed about a slot.
func (u *Updater) setRecord(id slot.ID, r *SlotRecord) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	if err := u.dev.Store.SetRecord(recordOf(id), b); err != nil {
		return fmt.Errorf("recording the state of slot %v: %w", id, err)
	}
	return nil
}

// setBoot makes next durable, unless it is what the disk holds already.
func (u *Updater) setBoot(next bootctl.State) error {
	if next == u.facts.Boot {
		return nil
	}
	if err := u.dev.Store.SetState(next); err != nil {
		return err
	}
	state, _, err := u.dev.Store.State()
	if err != nil {
		return err
	}
	u.facts.Boot = state
	return nil
}

// settle writes down what this boot says about the last one: the primary slot
// did not hold, or could not be loaded, and GRUB went to the other.
func (u *Updater) settle() error {
	f := u.facts
	running, flags := f.Boot.Flags(f.Running), f.Boot.Flags(f.Target())
	if f.Boot.Primary == f.Running || !running.OK || f.Migrating() {
		return nil
	}
	if !flags.OK && flags.Tries > 0 && !u.passedOver() {
		return nil // armed, and its trial is still to come
	}
	target := f.Slot(f.Target())
	r := Result{
		Action: ActionFallback, Slot: f.Target().String(), Code: codeHealth,
		Message: fmt.Sprintf("slot %v did not hold; slot %v runs again", f.Target(), f.Running),
	}
	if target.Record != nil {
		r.Version = target.Manifest.Version
		target.Record.State, target.Record.Committed = RecordFailed, false
		// Before the primary changes: with a cut in between the next start
		// still sees the failed slot. The other way round it would see a slot
		// that waits to be armed.
		if err := u.setRecord(f.Target(), target.Record); err != nil {
			return err
		}
	}
	return errors.Join(u.setBoot(bootctl.Heal(f.Boot, f.Running)), u.record(r))
}

// passedOver reports whether GRUB booted the running slot although the other
// one was armed already: it found no kernel to load there, say. After a broken
// copy of the boot state it does that too, for then it cannot count a try; the
// copy has been repaired now, and the trial comes with the next boot.
func (u *Updater) passedOver() bool {
	return !u.repaired && bootctl.FellBack(u.facts.Boot, u.facts.Running, u.dev.bootSeq)
}

// Foreign says why this boot was not made by our boot loader; empty if it was.
func (u *Updater) Foreign() string { return u.dev.Foreign }

// Trust describes in a line what the device accepts.
func (u *Updater) Trust() string {
	return fmt.Sprintf("version %d, %d keys, threshold %d; epoch %d and later; product %s, %s",
		u.trust.Keyring.Version, len(u.trust.Keyring.Keys), u.trust.Keyring.Threshold, u.trust.Epoch, u.trust.Device.Product, u.trust.Device.Compatible)
}

// Baseline returns what SetBaseline stored; nil when nothing was.
func (u *Updater) Baseline() ([]byte, error) {
	return u.dev.Store.Record(bootctl.RecordBaseline)
}

// SetBaseline stores the health before an update, for the trial to be judged
// against; it is kept outside of the slots, so that both systems see it.
func (u *Updater) SetBaseline(b []byte) error {
	return storeChanged(u.dev.Store, bootctl.RecordBaseline, b)
}
