package blockdevtest_test

import (
	"bytes"
	"errors"
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
	t.Logf("%d crash points", points)
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
