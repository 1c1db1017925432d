package migrate

import (
	"fmt"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/partition"
)

// TestCrashStartAgain cuts the power at every write of a start on an old system
// that our GRUB has booted, because the migrator has failed, and of one more
// such start: the old system boots, or the migrator with the journal of a start.
func TestCrashStartAgain(t *testing.T) {
	s := newSimulated(t, partition.MBR)
	failed := s.base.Clone()
	crashMust(t, s.start(failed))
	crashMust(t, s.fail(failed))
	found := map[string]int{}
	blockdevtest.Campaign{
		Base: failed.Clone(), Run: s.startAgain, Recover: s.startAgain,
		Check: func(c blockdevtest.Crash) error {
			who, err := s.whoBoots(c.Disk)
			if err != nil {
				return err
			}
			found[who]++
			if who != "mig" && (c.Done || who != "old") {
				return fmt.Errorf("it boots %s; acknowledged: %v", who, c.Done)
			}
			return nil
		},
	}.Test(t)
	if found["old"] == 0 || found["mig"] == 0 {
		t.Errorf("cuts never reached both sides: %v", found)
	}
}

// fail leaves what a migrator leaves that could not make slot a complete.
func (s *simulated) fail(d *blockdevtest.Disk) error {
	store, err := bootctl.Open(d, s.j.StateOff)
	if err != nil {
		return err
	}
	j, err := RecordedJournal(store)
	if err != nil {
		return err
	}
	state, _, err := store.State()
	if err != nil {
		return err
	}
	m := &Migrator{Store: store, journal: j, state: state, oldBoots: true, Log: NewLog(s.t.Output())}
	if out, _ := m.giveUp(fmt.Errorf("slot a is damaged")); out != ToOld {
		return fmt.Errorf("giving up leads to %d", out)
	}
	return nil
}

// startAgain is the part of such a start that writes. The command line is what
// our GRUB makes of the args block.
func (s *simulated) startAgain(d *blockdevtest.Disk) error {
	survey, err := s.survey(d)
	if err != nil {
		return err
	}
	store, err := bootctl.Open(d, s.j.StateOff)
	if err != nil {
		return err
	}
	args, err := store.Args(bootctl.SystemOld)
	if err != nil {
		return err
	}
	survey.Machine.Cmdline = "BOOT_IMAGE=/old/vmlinuz " + args.Device + " panic=10 ab.slot=old"
	j, err := RecordedJournal(store)
	if err != nil {
		return err
	}
	st := &starting{host: s.h, o: startOptions(), survey: survey, disk: uncloseable{d}, store: store, j: j}
	if err := st.refuse(true); err != nil {
		return err
	}
	return st.handOver()
}
