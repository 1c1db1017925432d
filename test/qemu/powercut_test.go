//go:build qemu

package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/images/tiny"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/slot"
	"github.com/abupdate/abupdate/test/qemu/logwrites"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// One real update is recorded, write by write, and then judged as if the power
// had gone after each of them: from the apply over GRUB's own writes to the
// commit. Real GRUB starts from the disks around the commit point.
func TestPowerCutAtEveryWriteOfAnUpdate(t *testing.T) {
	parallel(t, func(t *testing.T, fw vm.Firmware) {
		d := freshDevice(t, fw, "1.0.0", tiny.Undecided)
		url := d.release("2.0.0", tiny.Undecided)
		r := &replay{device: d, before: filepath.Join(t.TempDir(), "before.img"), log: filepath.Join(t.TempDir(), "writes")}
		d.must(vm.CopyDisk(r.before, d.disk))
		d.powerOn(vm.Disk{WriteLog: r.log})
		d.boots(bootctl.SystemA, bootctl.WhyGood)
		d.up()
		d.abupdate(0, "apply "+url)
		r.acknowledge(bootctl.SystemA, bootctl.WhyGood)
		// Configured between the apply and the shutdown: it must not be lost.
		_, _, err := d.machine.Control.Run(d.ctx, "echo renamed >/etc/hostname; hostname renamed")
		d.must(err)
		d.abupdate(0, "arm")
		r.acknowledge(bootctl.SystemB, bootctl.WhyTrial)
		d.leave("reboot")
		d.trial(bootctl.SystemB, bootctl.State{Primary: slot.B, A: good, B: tries(3)})
		d.abupdate(0, "commit")
		r.acknowledge(bootctl.SystemB, bootctl.WhyGood)
		d.must(d.machine.Close())

		r.run()
		for name, disk := range r.samples {
			t.Run(name, func(t *testing.T) {
				s := newDevice(t, fw, disk)
				want := s.model().BootFully()
				s.look()
				s.start(vm.Disk{})
				s.boots(want.System, want.Why)
			})
		}
	})
}

// replay judges a recorded run.
type replay struct {
	*device
	before, log string
	acks        []acknowledgement
	samples     map[string]string
}

// acknowledgement is something that the guest was told to be done, and what
// boots from then on.
type acknowledgement struct {
	entries int
	what    string
}

// acknowledge notes what boots if the power goes now.
func (r *replay) acknowledge(sys bootctl.System, why bootctl.Why) {
	r.t.Helper()
	r.acks = append(r.acks, acknowledgement{len(r.open().Entries), fmt.Sprintf("%v (%v)", sys, why)})
}

func (r *replay) open() *logwrites.Log {
	r.t.Helper()
	f, err := os.Open(r.log)
	r.must(err)
	r.t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	r.must(err)
	log, err := logwrites.Open(f, st.Size())
	r.must(err)
	return log
}

// run replays the log onto the disk as it was before.
func (r *replay) run() {
	r.t.Helper()
	log := r.open()
	cut := filepath.Join(r.t.TempDir(), "cut.img")
	r.must(vm.CopyDisk(cut, r.before))
	disk, err := os.OpenFile(cut, os.O_RDWR, 0)
	r.must(err)
	defer disk.Close()
	r.disk, r.samples = cut, make(map[string]string)

	last := r.outcome()
	durable := last // what boots if everything since the last flush is lost
	var changes []string
	for i, e := range log.Entries {
		r.checkPlace(i, e)
		if e.Durable() {
			durable = last
		}
		before := cut
		if r.inBoot(e) && len(r.samples) < 6 {
			before = r.keep(cut, i)
		}
		r.must(log.Apply(i, disk))
		now := r.outcome()
		if now != last {
			changes = append(changes, fmt.Sprintf("%d: %s", i, now))
			if now == "b (trial)" && last == "a (good)" {
				r.checkArmed(log, i)
				r.samples["before the commit point"], r.samples["after the commit point"] = before, r.keep(cut, i+1)
			}
		}
		last = now
		for _, ack := range r.acks {
			if ack.entries == i+1 && durable != ack.what {
				r.t.Errorf("after write %d of %d %s was acknowledged; what is durable boots %s", i, len(log.Entries), ack.what, durable)
			}
		}
	}
	r.t.Logf("%d writes and flushes judged; what boots changed at %v", len(log.Entries), changes)
}

// outcome is what boots from the disk as it is.
func (r *replay) outcome() string {
	r.t.Helper()
	r.look()
	o := r.model().BootFully()
	if o.System == 0 || o.Why == bootctl.WhyStatic || o.Why == bootctl.WhyLastResort {
		r.t.Errorf("a power cut leaves a disk from which GRUB boots %v", o)
	}
	return o.String()
}

// inBoot reports whether a write goes to the boot state or an args block.
func (r *replay) inBoot(e logwrites.Entry) bool {
	return e.Len > 0 && (within(r.layout.Env[:], e.Off) || within(r.layout.Args[:], e.Off))
}

// checkPlace fails for a write outside of the slots and of the files in abboot
// that are written in place.
func (r *replay) checkPlace(i int, e logwrites.Entry) {
	r.t.Helper()
	if e.Len == 0 {
		return
	}
	allowed := append([]bootctl.Extent{r.layout.State}, r.layout.Env[:]...)
	allowed = append(allowed, r.layout.Args[:]...)
	for _, part := range []int{r.layout.APart, r.layout.BPart} {
		allowed = append(allowed, bootctl.Extent{Off: r.parts[part], Len: r.sizes[part]})
	}
	for _, a := range allowed {
		if e.Off >= a.Off && e.Off+e.Len <= a.End() {
			return
		}
	}
	r.t.Errorf("write %d to bytes [%d, %d) belongs nowhere", i, e.Off, e.Off+e.Len)
}

// checkArmed looks into slot b as the power cut leaves it that comes right
// after its arming, write i, and that loses everything since the flush before.
// GRUB must find the image's kernel without replaying a journal, and the
// configuration must be there.
func (r *replay) checkArmed(log *logwrites.Log, i int) {
	r.t.Helper()
	now := r.disk
	defer func() { r.disk = now }()
	r.disk = filepath.Join(r.t.TempDir(), "worst.img")
	r.must(vm.CopyDisk(r.disk, r.before))
	disk, err := os.OpenFile(r.disk, os.O_RDWR, 0)
	r.must(err)
	defer disk.Close()
	flushed := i
	for flushed > 0 && !log.Entries[flushed-1].Durable() {
		flushed--
	}
	for j := range flushed {
		r.must(log.Apply(j, disk))
	}
	partition := fmt.Sprintf("%s?offset=%d", r.disk, r.parts[r.layout.BPart])
	if out, err := exec.Command("e2fsck", "-fn", partition).CombinedOutput(); err != nil {
		r.t.Errorf("slot b was armed by write %d, and its file system is not clean: %v\n%s", i, err, out)
	}
	if got := string(r.read(bootctl.SystemB, "/etc/hostname")); got != "renamed\n" {
		r.t.Errorf("slot b was armed by write %d with the hostname %q", i, got)
	}
	f, err := vendor()
	r.must(err)
	image, err := f.Image(r.ctx, "2.0.0", tiny.Undecided)
	r.must(err)
	for _, path := range []string{vmlinuz, initramfs} {
		want, err := exec.Command("debugfs", "-R", "cat "+path, image).Output()
		r.must(err)
		if !bytes.Equal(r.read(bootctl.SystemB, path), want) {
			r.t.Errorf("slot b was armed by write %d, and GRUB reads another %s than the image's", i, path)
		}
	}
}

// keep copies the disk for a later boot.
func (r *replay) keep(cut string, i int) string {
	r.t.Helper()
	path := filepath.Join(filepath.Dir(cut), fmt.Sprintf("kept-%d.img", i))
	if err := vm.CopyDisk(path, cut); err != nil && !errors.Is(err, os.ErrExist) {
		r.t.Fatal(err)
	}
	return path
}
