package partition

import (
	"bytes"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// fuzzDisk is a small disk that starts with the fuzzer's bytes.
func fuzzDisk(t *testing.T, data []byte) *blockdevtest.Disk {
	const most = 48 * sector
	d := blockdevtest.New(16*mib, sector)
	poke(t, d, 0, data[:min(len(data), most)]...)
	return d
}

// checkRead reads the table; what was read must survive Write and Read, or
// be refused by Write.
func checkRead(t *testing.T, d *blockdevtest.Disk) {
	table, err := Read(d)
	if err != nil {
		if !errors.Is(err, ErrTable) {
			t.Errorf("Read: %v", err)
		}
		return
	}
	fresh := blockdevtest.New(d.Size(), sector)
	if err := Write(fresh, table); err != nil {
		if !errors.Is(err, ErrTable) {
			t.Errorf("Write: %v", err)
		}
		return
	}
	again, err := Read(fresh)
	if err != nil || !sameParts(again, table) {
		t.Errorf("read %+v, after writing it %+v, %v", table, again, err)
	}
}

func seed(f *testing.F, table *Table) {
	head := make([]byte, 36*sector)
	if _, err := formatted(f, table).ReadAt(head, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimRight(head, "\x00")) // short: mutations hit what counts
}

func FuzzMBR(f *testing.F) {
	seed(f, mbrTable())
	seed(f, otherMBR())
	f.Fuzz(func(t *testing.T, data []byte) {
		d := fuzzDisk(t, data)
		poke(t, d, bootSignatureAt, 0x55, 0xAA) // else nothing is ever reached
		checkRead(t, d)
	})
}

func FuzzGPT(f *testing.F) {
	seed(f, gptTable())
	seed(f, otherGPT())
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRead(t, fuzzDisk(t, data))
		// And once with all checksums right, to reach what lies behind them.
		d := fuzzDisk(t, data)
		poke(t, d, bootSignatureAt, 0x55, 0xAA)
		poke(t, d, mbrEntriesAt+4, typeProtective)
		resealed(t, d, func(h []byte) {
			copy(h, gptSignature)
			le.PutUint32(h[8:], gptRevision)
			le.PutUint32(h[12:], gptHeaderSize)
			count, at := le.Uint32(h[80:]), le.Uint64(h[72:])
			if count <= maxGPTEntries && at < 64 {
				array := make([]byte, count*gptEntrySize)
				if _, err := d.ReadAt(array, int64(at)*sector); err != nil {
					t.Fatal(err)
				}
				le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
			}
		})
		checkRead(t, d)
	})
}
