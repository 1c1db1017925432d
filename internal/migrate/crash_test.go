package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bootctl/bootmodel"
	"github.com/abupdate/abupdate/internal/bundle"
)

// migrations are the disks that a migrator may find, and where they lead.
func migrations(t *testing.T) map[string]migration {
	t.Helper()
	carve, gather := newCrashBed(t, Carve), newCrashBed(t, Gather)
	failed := gather.base.Clone() // the trial of a gathered system has failed
	crashMust(t, gather.migrate(failed))
	for range trialTries {
		gather.boot(failed)
	}
	damaged := carve.base.Clone() // slot a, since prepare
	_, err := damaged.WriteAt(make([]byte, sector), bedA+400<<10)
	crashMust(t, err)
	return map[string]migration{
		"carve":                        {carve, carve.base, carve.migrate, bootctl.SystemA},
		"carve, slot a has changed":    {carve, damaged.Clone(), carve.comesBack, bootctl.SystemOld},
		"gather":                       {gather, gather.base, gather.migrate, bootctl.SystemA},
		"gather, after a failed trial": {gather, failed.Clone(), gather.migrate, bootctl.SystemA},
	}
}

// migration is a disk on which the migrator's turn is next.
type migration struct {
	*bed
	base *blockdevtest.Disk
	run  func(*blockdevtest.Disk) error
	end  bootctl.System // what boots then
}

// comesBack is the life of a device whose migration cannot succeed.
func (b *bed) comesBack(disk *blockdevtest.Disk) error {
	for range 2 * migratorTries {
		sys, err := b.powerOn(disk)
		if err != nil {
			return err
		}
		switch sys {
		case bootctl.SystemOld:
			return nil
		case bootctl.SystemA, bootctl.SystemB:
			return fmt.Errorf("%v boots", sys)
		case bootctl.SystemMigrator:
			if out, err := b.turn(disk); err == nil {
				return fmt.Errorf("the migrator found nothing wrong: %v", out)
			}
		}
	}
	return errors.New("the migrator runs again and again")
}

// TestCrashMigrator cuts the power at every write of the migrator, from its
// first boot to the trial of the new system or the return of the old one, and
// again on the way from there: one whole system boots, or the migrator, which
// finishes the job; the configuration in the new one is the whole old one.
func TestCrashMigrator(t *testing.T) {
	for name, m := range migrations(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blockdevtest.Campaign{
				Base: m.base, Run: m.run, Recover: m.run, Recoveries: 3,
				Check: func(c blockdevtest.Crash) error {
					sys, err := m.powerOn(c.Disk)
					if done := c.Done || c.First != nil && c.First.Done; err == nil && done && sys != m.end {
						return fmt.Errorf("acknowledged, and %v boots", sys)
					}
					// A migrator that never gets anywhere uses its tries up.
					for n := 0; err == nil && sys == bootctl.SystemMigrator && n < migratorTries; n++ {
						sys, err = m.powerOn(c.Disk)
					}
					return err
				},
			}.Test(t)
		})
	}
}

// TestFaultMigrator fails each operation of the migrator in turn, once and from
// then on: what boots is a whole system, or the migrator, which goes on when the
// disk works again.
func TestFaultMigrator(t *testing.T) {
	for name, m := range migrations(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := 1
			if m.tier == Gather && blockdevtest.Scale() <= 2 {
				step = 5 // each is a new system
			}
			for kind, fault := range blockdevtest.QuickFaults() {
				for ; m.fails(t, kind, fault); fault.At += step {
				}
			}
		})
	}
}

// fails runs the migrator with a fault, and reports whether that struck.
func (m migration) fails(t *testing.T, kind string, fault blockdevtest.Fault) bool {
	t.Helper()
	disk := m.base.Clone()
	disk.Inject(fault)
	err := m.run(disk)
	if disk.Ops() <= fault.At {
		crashMust(t, err)
		return false
	}
	disk = disk.Clone()
	sys, err := m.powerOn(disk.Clone())
	if err != nil {
		t.Fatalf("%s, operation %d: %v", kind, fault.At, err)
	}
	if sys == bootctl.SystemOld {
		return true // whole, as powerOn has seen
	}
	if err := m.run(disk); err != nil && !errors.Is(err, errOld) {
		t.Fatalf("%s, operation %d; again: %v", kind, fault.At, err)
	}
	return true
}

// TestCrashAfterAFailedTrial cuts the migrator's turns after one failed trial
// again and again: that is still one failure, and the new system gets its
// second trial.
func TestCrashAfterAFailedTrial(t *testing.T) {
	m := migrations(t)["gather, after a failed trial"]
	for at := range 12 {
		disk := m.base.Clone()
		for range 2 * maxFailures {
			disk.Inject(blockdevtest.Fault{At: at, Err: unix.EIO, Sticky: true})
			if out, err := m.turn(disk); err == nil {
				t.Fatalf("cut before operation %d: %v", at, out)
			}
			disk = disk.Clone()
		}
		if err := m.migrate(disk); err != nil {
			t.Errorf("cut before operation %d, %d times: %v", at, 2*maxFailures, err)
		}
	}
}

// TestCrashKeepsWhatWasMounted: once a file system that was mounted for writing
// is let go of, what was written to it is durable, whatever follows.
func TestCrashKeepsWhatWasMounted(t *testing.T) {
	t.Parallel()
	b := newCrashBed(t, Carve)
	blockdevtest.Campaign{
		Base: b.base,
		Run: func(disk *blockdevtest.Disk) error {
			m := b.migrator(disk)
			m.journal = b.j
			return m.withSlot(bundle.Image{Filesystem: "ext4"}, func(root *os.Root) error {
				return root.WriteFile("etc/hostname", []byte("kept\n"), 0o644)
			})
		},
		Check: func(c blockdevtest.Crash) error {
			for at, want := range map[int64]string{bedConfig: "kept\n", bedMark: "clean"} {
				got := make([]byte, sector)
				if _, err := c.Disk.ReadAt(got, bedA+at); err != nil {
					return err
				}
				if c.Done && !bytes.Equal(got, pad([]byte(want))) {
					return fmt.Errorf("after it was let go of, %q is %q", want, bytes.TrimRight(got, "\x00"))
				}
			}
			return nil
		},
	}.Test(t)
}

// boot is one GRUB session, whatever it leads to.
func (b *bed) boot(disk *blockdevtest.Disk) bootmodel.Outcome {
	return bootmodel.Machine{Dev: disk, Layout: b.layout, Files: func(bootctl.System) bootmodel.Files { return bootmodel.Loadable }}.BootFully()
}
