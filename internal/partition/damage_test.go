package partition

import (
	"bytes"
	"errors"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

func poke(t testing.TB, d blockdev.Device, off int64, b ...byte) {
	t.Helper()
	if _, err := d.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// resealed changes a field of the primary header and makes its CRC right
// again: the check of the field itself has to catch it.
func resealed(t testing.TB, d blockdev.Device, change func(h []byte)) {
	t.Helper()
	h := make([]byte, sector)
	if _, err := d.ReadAt(h, sector); err != nil {
		t.Fatal(err)
	}
	change(h)
	le.PutUint32(h[gptHeaderCRCAt:], headerCRC(h))
	poke(t, d, sector, h...)
}

func TestDamagedGPTCopies(t *testing.T) {
	const end = 16 * mib
	for name, tc := range map[string]struct {
		damage          func(d *blockdevtest.Disk)
		primary, backup Copy
	}{
		"primary header":    {func(d *blockdevtest.Disk) { poke(t, d, sector+60, 0xFF) }, CopyBroken, CopyGood},
		"primary entries":   {func(d *blockdevtest.Disk) { poke(t, d, 2*sector+45, 0xFF) }, CopyBroken, CopyGood},
		"primary gone":      {func(d *blockdevtest.Disk) { poke(t, d, sector, make([]byte, 33*sector)...) }, CopyBroken, CopyGood},
		"backup header":     {func(d *blockdevtest.Disk) { poke(t, d, end-sector+60, 0xFF) }, CopyGood, CopyBroken},
		"backup entries":    {func(d *blockdevtest.Disk) { poke(t, d, end-33*sector+45, 0xFF) }, CopyGood, CopyBroken},
		"backup of another": {otherBackup(t), CopyGood, CopyStale},
		"alternate wild":    {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint64(h[32:], 1<<60) }) }, CopyGood, CopyGood},
		"usable sectors":    {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint64(h[48:], 1<<63) }) }, CopyBroken, CopyGood},
		"entries far away":  {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint64(h[72:], 1<<63-1) }) }, CopyBroken, CopyGood},
		"entries in a slot": {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint64(h[72:], 4096) }) }, CopyBroken, CopyGood},
		"entry size":        {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint32(h[84:], 1<<31) }) }, CopyBroken, CopyGood},
		"4 billion entries": {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint32(h[80:], 1<<32-1) }) }, CopyBroken, CopyGood},
		"no entries":        {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint32(h[80:], 0) }) }, CopyBroken, CopyGood},
		"other place":       {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { le.PutUint64(h[24:], 2) }) }, CopyBroken, CopyGood},
		"other revision":    {func(d *blockdevtest.Disk) { resealed(t, d, func(h []byte) { h[10] = 2 }) }, CopyBroken, CopyGood},
	} {
		t.Run(name, func(t *testing.T) {
			d := formatted(t, gptTable())
			tc.damage(d)
			got, err := Read(d)
			if err != nil {
				t.Fatal(err)
			}
			if got.Primary != tc.primary || got.Backup != tc.backup || !sameParts(got, gptTable()) {
				t.Errorf("Read = %+v", got)
			}
			// Writing again repairs both copies, whatever was broken.
			if err := Write(d, gptTable()); err != nil {
				t.Fatal(err)
			}
			if got, err = Read(d); err != nil || got.Primary != CopyGood || got.Backup != CopyGood {
				t.Errorf("after Write: %+v, %v", got, err)
			}
		})
	}
}

// otherBackup puts another disk's backup in place.
func otherBackup(t *testing.T) func(d *blockdevtest.Disk) {
	return func(d *blockdevtest.Disk) {
		other := gptTable()
		other.Parts = other.Parts[:1]
		b := make([]byte, 33*sector)
		if _, err := formatted(t, other).ReadAt(b, 16*mib-33*sector); err != nil {
			t.Fatal(err)
		}
		poke(t, d, 16*mib-33*sector, b...)
	}
}

func sameParts(a, b *Table) bool {
	if a.Scheme != b.Scheme || a.DiskID != b.DiskID || len(a.Parts) != len(b.Parts) {
		return false
	}
	for i := range a.Parts {
		if a.Parts[i] != b.Parts[i] {
			return false
		}
	}
	return true
}

func TestUnreadableTables(t *testing.T) {
	wipe := func(d *blockdevtest.Disk, off int64) { poke(t, d, off, make([]byte, 33*sector)...) }
	entry := func(d *blockdevtest.Disk, n, field int, v uint32) {
		b := make([]byte, 4)
		le.PutUint32(b, v)
		poke(t, d, int64(mbrEntriesAt+(n-1)*mbrEntrySize+field), b...)
	}
	for name, tc := range map[string]struct {
		on     *Table
		damage func(d *blockdevtest.Disk)
	}{
		"empty disk": {nil, func(*blockdevtest.Disk) {}},
		// What go-diskfs takes for an MBR table with one partition.
		"both GPT copies gone": {gptTable(), func(d *blockdevtest.Disk) { wipe(d, sector); wipe(d, 16*mib-33*sector) }},
		"hybrid without GPT":   {mbrTable(), func(d *blockdevtest.Disk) { poke(t, d, mbrEntriesAt+2*mbrEntrySize+4, 0xEE) }},
		"MBR past the end":     {mbrTable(), func(d *blockdevtest.Disk) { entry(d, 4, 12, 1<<31) }},
		"MBR over itself":      {mbrTable(), func(d *blockdevtest.Disk) { entry(d, 1, 8, 0) }},
		"MBR flag":             {mbrTable(), func(d *blockdevtest.Disk) { poke(t, d, mbrEntriesAt, 0x7F) }},
		"no signature":         {mbrTable(), func(d *blockdevtest.Disk) { poke(t, d, 510, 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := blockdevtest.New(16*mib, sector)
			if tc.on != nil {
				d = formatted(t, tc.on)
			}
			tc.damage(d)
			if got, err := Read(d); !errors.Is(err, ErrTable) {
				t.Errorf("Read = %+v, %v", got, err)
			}
		})
	}
	for _, d := range []*blockdevtest.Disk{blockdevtest.New(16*mib, 4096), blockdevtest.New(0, 512), blockdevtest.New(100, 512)} {
		if _, err := Read(d); !errors.Is(err, ErrTable) {
			t.Errorf("disk of %d bytes in sectors of %d: %v", d.Size(), d.SectorSize(), err)
		}
		if err := Write(d, gptTable()); !errors.Is(err, ErrTable) {
			t.Errorf("writing to a disk of %d bytes in sectors of %d: %v", d.Size(), d.SectorSize(), err)
		}
	}
}

// TestLostPrimaryOnGrownDisk: the backup is no longer at the end, and nothing
// says where it is. go-diskfs returns an MBR table and no error here.
func TestLostPrimaryOnGrownDisk(t *testing.T) {
	small := formatted(t, gptTable())
	whole := make([]byte, 16*mib)
	if _, err := small.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	grown := blockdevtest.New(20*mib, sector)
	poke(t, grown, 0, whole...)
	got, err := Read(grown)
	if err != nil || got.Primary != CopyGood || got.Backup != CopyGood || !sameParts(got, gptTable()) {
		t.Errorf("grown: %+v, %v", got, err)
	}
	poke(t, grown, sector, bytes.Repeat([]byte{0}, sector)...)
	if got, err := Read(grown); !errors.Is(err, ErrTable) {
		t.Errorf("grown, primary lost: %+v, %v", got, err)
	}
}
