package migrate

import (
	"errors"
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// TestFaultStart fails each operation of start and of taking it back, once and
// from then on: the error is said, what boots is what may boot after a cut
// there, and the same again finishes the job.
func TestFaultStart(t *testing.T) {
	for name, scheme := range schemes {
		s := newSimulated(t, scheme)
		started := s.base.Clone()
		if err := s.start(started); err != nil {
			t.Fatal(err)
		}
		for _, w := range []faulty{
			{s, s.base, s.start, "old loader", "mig"},
			{s, started.Clone(), s.abort, "mig", "old loader"},
		} {
			t.Run(name+", to "+w.after, func(t *testing.T) {
				for kind, fault := range blockdevtest.QuickFaults() {
					for fault.At = 0; w.fails(t, fault); fault.At++ {
					}
					t.Logf("%s: %d operations failed in turn", kind, fault.At)
				}
			})
		}
	}
}

// faulty is a command on a disk that fails, and who boots before and after it.
type faulty struct {
	*simulated
	base          *blockdevtest.Disk
	run           func(*blockdevtest.Disk) error
	before, after string
}

// fails runs the command with a fault, and reports whether that struck.
func (w faulty) fails(t *testing.T, fault blockdevtest.Fault) bool {
	t.Helper()
	d := w.base.Clone()
	d.Inject(fault)
	err := w.run(d)
	if d.Ops() <= fault.At {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	if fault.Only != nil && err == nil {
		return true // no operation of that kind was left to fail
	}
	if !errors.Is(err, fault.Err) {
		t.Fatalf("%+v: the error is %v", fault, err)
	}
	d = d.Clone()
	if who, err := w.whoBoots(d); err != nil || !slices.Contains([]string{w.before, w.after}, who) {
		t.Fatalf("%+v: it boots %s, %v", fault, who, err)
	}
	if err := w.run(d); err != nil {
		t.Fatalf("%+v: again: %v", fault, err)
	}
	if who, err := w.whoBoots(d); err != nil || who != w.after {
		t.Fatalf("%+v: again: it boots %s, %v", fault, who, err)
	}
	return true
}
