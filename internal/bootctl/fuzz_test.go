package bootctl

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/abupdate/abupdate/internal/slot"
)

// Each target checks: no panic, and what is accepted gives the same bytes
// when it is encoded again.

func FuzzEnv(f *testing.F) {
	f.Add(State{Seq: 1, Primary: slot.A, A: Flags{OK: true}, BKind: KindSlot}.Encode())
	f.Add(armed.Encode())
	f.Add(State{Seq: 1<<32 - 1, Primary: slot.B, A: Flags{Tries: 9}, B: Flags{OK: true}, BKind: KindOld, Migrate: true}.Encode())
	f.Add(invalidSector())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseEnv(b); err == nil && !bytes.Equal(s.Encode(), b) {
			t.Errorf("%+v is encoded otherwise", s)
		}
	})
}

func FuzzArgs(f *testing.F) {
	f.Add(Args{}.encode())
	f.Add(someArgs.encode())
	f.Add(append(invalidSector(), make([]byte, ArgsSize-EnvSize)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range Systems {
			if a, err := ParseArgs(b, s); err == nil && !bytes.Equal(a.encode(), b) {
				t.Errorf("%+v is encoded otherwise", a)
			}
		}
	})
}

// The checksums are made right for the fuzzer, or it would never get further.

func FuzzStateHeader(f *testing.F) {
	for n := range uint32(headerCopies) {
		f.Add(someHeader().encode(n), n)
	}
	f.Fuzz(func(t *testing.T, b []byte, n uint32) {
		if len(b) > offCopy {
			binary.LittleEndian.PutUint32(b[offCRC:], crc32.Checksum(b[offCopy:], castagnoli))
		}
		if h, err := parseHeader(b, n, 1<<40); err == nil && !bytes.Equal(h.encode(n), b) {
			t.Errorf("%+v is encoded otherwise", h)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(record{id: RecordEpoch, seq: 1}.encode())
	f.Add(record{id: RecordEpoch, seq: 1 << 63, data: []byte("7")}.encode())
	f.Add(record{id: RecordEpoch, seq: 3, data: make([]byte, 5000)}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		const capacity = 64 * kib
		if n, err := recordLen(b, capacity); err == nil && n <= int64(len(b)) {
			if end := recordHeader + int(binary.LittleEndian.Uint32(b[recOffLen:])); end <= len(b) {
				binary.LittleEndian.PutUint32(b[recOffCRC:], crc32.Checksum(b[recOffID:end], castagnoli))
			}
		}
		if r, err := parseRecord(b, RecordEpoch, capacity); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("%+v is encoded otherwise", r)
		}
	})
}

func FuzzCmdline(f *testing.F) {
	f.Add("BOOT_IMAGE=(hd0,msdos2)/boot/vmlinuz ab.slot=a ab.why=good ab.seq=0000000007 ab.state=4096 quiet")
	f.Add("ab.slot=b ab.why=static ab.seq=0 ab.state=1")
	f.Add("root=/dev/sda2 ro quiet")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCmdline(text)
		if err == nil && (c.StateLBA <= 0 || c.Seq == 0 && c.Why != WhyStatic) {
			t.Errorf("%q was read as %+v", text, c)
		}
	})
}
