package blockdevtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// TestCrashKeepsWhatWasSynced checks the simulation itself: synced writes
// survive each cut, sectors are whole, and each half-way state turns up.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	base := blockdevtest.New(1<<20, 512)
	first, second := bytes.Repeat([]byte{1}, 1024), bytes.Repeat([]byte{2}, 1024)
	seen := make(map[string]bool)
	points, err := blockdevtest.EachCrash(base, func(d *blockdevtest.Disk) error {
		d.WriteAt(first, 0)
		if err := d.Sync(); err != nil {
			return err
		}
		d.WriteAt(second, 0)
		d.WriteAt(second, 4096)
		return d.Sync()
	}, func(c blockdevtest.Crash) {
		got := make([]byte, 8192)
		c.Disk.ReadAt(got, 0)
		for i := range 16 {
			sector := got[i*512 : i*512+512]
			if !bytes.Equal(sector, bytes.Repeat(sector[:1], 512)) {
				t.Errorf("%v: sector %d is torn", c, i)
			}
		}
		if c.Index >= 2 && got[0] == 0 {
			t.Errorf("%v: a synced write is lost", c)
		}
		if c.Done && (got[0] != 2 || got[4096] != 2) {
			t.Errorf("%v: not all is there at the end", c)
		}
		seen[string([]byte{got[0], got[512], got[4096]})] = true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\x00\x00\x00", "\x01\x00\x00", "\x00\x01\x00", "\x01\x01\x00", "\x02\x01\x00", "\x01\x02\x00", "\x01\x01\x02", "\x02\x02\x02"} {
		if !seen[want] {
			t.Errorf("the state %q (two sectors, and the later write) never turned up", want)
		}
	}
	t.Logf("crash: %d points, 0 violations", points)
}

func TestCrashDamagesPhysicalSectors(t *testing.T) {
	base := blockdevtest.New(1<<20, 512)
	base.SetPhysicalSector(4096)
	damaged := false
	_, err := blockdevtest.EachCrash(base, func(d *blockdevtest.Disk) error {
		_, err := d.WriteAt(make([]byte, 512), 8192+512)
		return errors.Join(err, d.Sync())
	}, func(c blockdevtest.Crash) {
		got := make([]byte, 3*4096)
		c.Disk.ReadAt(got, 4096)
		if got[0] != 0 || got[8192] != 0 {
			t.Errorf("%v: damage outside of the physical sector", c)
		}
		damaged = damaged || got[4096] != 0
	})
	if err != nil || !damaged {
		t.Errorf("no cut damaged the neighbouring sector; error %v", err)
	}
}

// careless is code that changes two sectors, which must be equal, in place.
func careless(d *blockdevtest.Disk) error {
	b := bytes.Repeat([]byte{7}, 512)
	_, err := d.WriteAt(b, 0)
	_, err2 := d.WriteAt(b, 4096)
	return errors.Join(err, err2, d.Sync())
}

func equal(c blockdevtest.Crash) error {
	var b [2][1]byte
	c.Disk.ReadAt(b[0][:], 0)
	c.Disk.ReadAt(b[1][:], 4096)
	if b[0] != b[1] {
		return fmt.Errorf("%d and %d", b[0], b[1])
	}
	return nil
}

// recorder is a test that fails without failing this one.
type recorder struct {
	testing.TB
	errors []string
	log    string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Logf(format string, args ...any) { r.log = fmt.Sprintf(format, args...) }

// TestCampaignFindsCarelessCode: one write without the other, by a loss, by a
// new order, and by a cut in the repetition.
func TestCampaignFindsCarelessCode(t *testing.T) {
	r := &recorder{TB: t}
	blockdevtest.Campaign{Base: blockdevtest.New(1<<20, 512), Run: careless, Recover: careless, Check: equal}.Test(r)
	if len(r.errors) < 2 || !strings.HasPrefix(r.log, "crash: ") || strings.Contains(r.log, " 0 violations") {
		t.Errorf("%q, %q", r.errors, r.log)
	}
	found := strings.Join(r.errors, "\n")
	for _, want := range []string{"cut after operation 1 (write [0, 512))", "only the last landed", "then in the recovery"} {
		if !strings.Contains(found, want) {
			t.Errorf("no violation says %q:\n%s", want, found)
		}
	}
}

// TestCampaignAcknowledgement: what was promised in the middle of a run must
// hold from there on, and only from there on.
func TestCampaignAcknowledgement(t *testing.T) {
	run := func(sync bool) (violations int) {
		r := &recorder{TB: t}
		blockdevtest.Campaign{
			Base: blockdevtest.New(1<<20, 512),
			Run: func(d *blockdevtest.Disk) error {
				d.WriteAt([]byte{1}, 0)
				if sync {
					d.Sync()
				}
				d.Acknowledge()
				d.WriteAt([]byte{2}, 8192)
				return d.Sync()
			},
			Check: func(c blockdevtest.Crash) error {
				var b [1]byte
				c.Disk.ReadAt(b[:], 0)
				if c.Acknowledged == 1 && b[0] != 1 {
					return errors.New("acknowledged and lost")
				}
				return nil
			},
		}.Test(r)
		return len(r.errors)
	}
	if n := run(true); n != 0 {
		t.Errorf("synced before it was acknowledged: %d violations", n)
	}
	if n := run(false); n == 0 {
		t.Error("acknowledged before it was synced: no violation")
	}
}

// TestDiscardIsNoZeroing: who discards must not go by what is read then.
func TestDiscardIsNoZeroing(t *testing.T) {
	d := blockdevtest.New(1<<20, 512)
	d.WriteAt(bytes.Repeat([]byte{1}, 8192), 4096)
	if err := d.Discard(6000, 4000); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 12288)
	d.ReadAt(got, 0)
	if got[5999] != 1 || got[10000] != 1 || got[6000] == 0 || got[6000] == 1 || got[9999] != got[6000] {
		t.Errorf("bytes at 5999, 6000, 9999, 10000: %d %d %d %d", got[5999], got[6000], got[9999], got[10000])
	}
}

func TestFaults(t *testing.T) {
	cause := errors.New("input/output error")
	d := blockdevtest.New(1<<20, 512)
	d.Fail(1, cause, false)
	if _, err := d.WriteAt([]byte{1}, 0); err != nil {
		t.Errorf("operation 0: %v", err)
	}
	if err := d.Sync(); !errors.Is(err, cause) {
		t.Errorf("operation 1: %v, want the planned fault", err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("operation 2: %v, the fault was to strike once", err)
	}
	if d.Ops() != 3 {
		t.Errorf("Ops() = %d, want 3", d.Ops())
	}
}

func TestShortFaults(t *testing.T) {
	cause := errors.New("no space left on device")
	d := blockdevtest.New(1<<20, 512)
	d.WriteAt(bytes.Repeat([]byte{1}, 2048), 0)
	d.Sync()
	d.WriteAt(bytes.Repeat([]byte{2}, 2048), 0)
	d.Inject(blockdevtest.Fault{At: 3, Err: cause, Short: true})
	if err := d.Sync(); !errors.Is(err, cause) {
		t.Errorf("Sync: %v", err)
	}
	got := make([]byte, 2048)
	if d.ReadAt(got, 0); got[0] != 1 {
		t.Error("a failed Sync kept what it was to flush")
	}
	d.Inject(blockdevtest.Fault{At: 4, Err: cause, Short: true})
	if n, err := d.WriteAt(bytes.Repeat([]byte{3}, 2048), 0); n != 1024 || !errors.Is(err, cause) {
		t.Errorf("WriteAt = %d, %v; want 1024 and the planned fault", n, err)
	}
	if d.ReadAt(got, 0); got[1023] != 3 || got[1024] != 1 {
		t.Errorf("bytes 1023 and 1024 are %d and %d", got[1023], got[1024])
	}
	d.Inject(blockdevtest.Fault{Err: cause, Sticky: true, Only: func(o blockdevtest.Op) bool { return o.Sync }})
	if _, err := d.WriteAt(got, 0); err != nil || d.Sync() == nil || d.Sync() == nil {
		t.Errorf("only Syncs were to fail: %v", err)
	}
}

func TestUnreadableSectors(t *testing.T) {
	base := blockdevtest.New(1<<20, 512)
	base.SetPhysicalSector(4096)
	unreadable := false
	_, err := blockdevtest.EachCrash(base, func(d *blockdevtest.Disk) error {
		_, err := d.WriteAt(make([]byte, 512), 8192)
		return errors.Join(err, d.Sync())
	}, func(c blockdevtest.Crash) {
		b := make([]byte, 512)
		if _, err := c.Disk.ReadAt(b, 8192+512); err == nil {
			return
		}
		unreadable = true
		c.Disk.WriteAt(b, 8192+512)
		if _, err := c.Disk.ReadAt(b, 8192+512); err != nil {
			t.Errorf("written again, and %v", err)
		}
		if _, err := c.Disk.ReadAt(b, 8192+1024); err == nil {
			t.Error("another sector became readable")
		}
	})
	if err != nil || !unreadable {
		t.Errorf("no cut left an unreadable sector; error %v", err)
	}
}

func TestSameIn(t *testing.T) {
	a := blockdevtest.New(1<<20, 512)
	a.WriteAt(bytes.Repeat([]byte{1}, 9000), 100)
	b := a.Clone()
	b.WriteAt([]byte{1}, 200)      // the same bytes, in another page
	b.WriteAt([]byte{2, 2}, 20000) // and two others
	for _, c := range []struct {
		off, length int64
		want        bool
	}{{0, 20000, true}, {20002, 1<<20 - 20002, true}, {0, 1 << 20, false}, {20001, 1, false}, {19999, 1, true}} {
		if got := a.SameIn(b, c.off, c.length); got != c.want {
			t.Errorf("%d bytes at %d: the same: %v, want %v", c.length, c.off, got, c.want)
		}
	}
	a.SetPhysicalSector(4096)
	blockdevtest.EachCrash(a, func(d *blockdevtest.Disk) error { d.WriteAt([]byte{1}, 8192); return nil }, func(c blockdevtest.Crash) {
		// Damaged or unreadable, it is not the same any more.
		if got, want := a.SameIn(c.Disk, 8192, 1), c.Policy != blockdevtest.Physical; got != want || !a.SameIn(c.Disk, 0, 8192) {
			t.Errorf("%v: the same: %v, want %v", c, got, want)
		}
	})
}
