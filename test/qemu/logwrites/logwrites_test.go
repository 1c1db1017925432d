package logwrites

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// write appends an entry to a log under construction.
func write(log []byte, sector, count uint64, flags Flags, content []byte) []byte {
	head := make([]byte, 512)
	le := binary.LittleEndian
	le.PutUint64(head[0:], sector)
	le.PutUint64(head[8:], count)
	le.PutUint64(head[16:], uint64(flags))
	if flags&Mark != 0 {
		le.PutUint64(head[24:], uint64(copy(head[entryLen:], content)))
		content = nil
	}
	return append(append(log, head...), content...)
}

func super(entries uint64) []byte {
	b := make([]byte, 512)
	le := binary.LittleEndian
	le.PutUint64(b[0:], magic)
	le.PutUint64(b[8:], version)
	le.PutUint64(b[16:], entries)
	le.PutUint32(b[24:], 512)
	return b
}

func sample() []byte {
	log := super(5)
	log = write(log, 2, 2, 0, bytes.Repeat([]byte{'x'}, 1024))
	log = write(log, 0, 0, Flush, nil)
	log = write(log, 0, 0, Mark, []byte("armed"))
	log = write(log, 3, 1, FUA, bytes.Repeat([]byte{'y'}, 512))
	return write(log, 2, 1, Discard, nil)
}

// memory is a disk in memory.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) ReadAt(p []byte, off int64) (int, error)  { return copy(p, m[off:]), nil }

func open(t *testing.T, b []byte) *Log {
	t.Helper()
	l, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPrefixesAreTheDiskAfterEachWrite(t *testing.T) {
	l := open(t, sample())
	if len(l.Entries) != 5 {
		t.Fatalf("%d entries, want 5", len(l.Entries))
	}
	disk := make(memory, 8*512)
	for i, want := range []string{"..xx....", "..xx....", "..xx....", "..xy....", "...y...."} {
		if err := l.Apply(i, disk); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for s := range 8 {
			c := disk[s*512]
			if c == 0 {
				c = '.'
			}
			got = append(got, c)
		}
		if string(got) != want {
			t.Errorf("after entry %d: sectors %s, want %s", i, got, want)
		}
	}
	if !l.Entries[1].Durable() || l.Entries[0].Durable() {
		t.Error("only the flush makes earlier writes durable")
	}
}

func TestTornWriteStopsAtASector(t *testing.T) {
	l := open(t, sample())
	disk := make(memory, 8*512)
	if err := l.ApplyTorn(0, disk, 512); err != nil {
		t.Fatal(err)
	}
	if disk[2*512] != 'x' || disk[3*512] != 0 {
		t.Error("half of the write was expected")
	}
	if l.ApplyTorn(0, disk, 100) == nil || l.ApplyTorn(0, disk, 4096) == nil {
		t.Error("a torn sector or more than the write was accepted")
	}
}

// Every way to settle keeps what was flushed, keeps something, is made of whole
// sectors of writes since then, and can be taken back.
func TestSettleKeepsWhatWasFlushed(t *testing.T) {
	log := super(5)
	log = write(log, 0, 1, 0, bytes.Repeat([]byte{'a'}, 512))
	log = write(log, 0, 0, Flush, nil)
	log = write(log, 1, 3, 0, bytes.Repeat([]byte{'b'}, 3*512))
	log = write(log, 2, 2, 0, bytes.Repeat([]byte{'c'}, 2*512))
	log = write(log, 5, 1, 0, bytes.Repeat([]byte{'d'}, 512))
	l := open(t, log)
	if f := l.Flushed(5); f != 2 {
		t.Fatalf("%d entries are durable, want 2", f)
	}
	if cuts := l.Settle(1, 9, rand.New(rand.NewPCG(1, 1))); cuts != nil {
		t.Errorf("one sector is there or not, and yet: %v", cuts)
	}
	durable := make(memory, 8*512)
	if err := l.Replay(Cut{Durable: 2}, durable); err != nil {
		t.Fatal(err)
	}
	disks := make(map[string]bool)
	for _, c := range l.Settle(5, 300, rand.New(rand.NewPCG(1, 2))) {
		disk, replayed := slices.Clone(durable), make(memory, len(durable))
		undo, err := l.Try(c, disk)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Replay(c, replayed); err != nil || !bytes.Equal(disk, replayed) {
			t.Fatalf("%v: tried and replayed differ (%v)", c, err)
		}
		if disk[0] != 'a' || bytes.Equal(disk, durable) {
			t.Fatalf("%v keeps nothing, or not what was flushed", c)
		}
		disks[string(disk)] = true
		if err := undo(); err != nil || !bytes.Equal(disk, durable) {
			t.Fatalf("%v cannot be taken back (%v)", c, err)
		}
	}
	// By sectors 1 to 5: what of b and c is there, in which order; d or not.
	if len(disks) < 15 {
		t.Errorf("only %d different disks", len(disks))
	}
}

func TestOpenRefusesDamagedLogs(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"cut short":        func(b []byte) []byte { return b[:len(b)-1024] },
		"magic":            func(b []byte) []byte { b[0] ^= 1; return b },
		"version":          func(b []byte) []byte { b[8] = 2; return b },
		"endless count":    func(b []byte) []byte { binary.LittleEndian.PutUint64(b[16:], 1<<60); return b },
		"sector size 0":    func(b []byte) []byte { b[25] = 0; return b },
		"unknown flag":     func(b []byte) []byte { b[512+16] = 0x80; return b },
		"endless entry":    func(b []byte) []byte { binary.LittleEndian.PutUint64(b[512+8:], 1<<30); return b },
		"entry off limits": func(b []byte) []byte { binary.LittleEndian.PutUint64(b[512:], 1<<63); return b },
	} {
		b := damage(slices.Clone(sample()))
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(sample())
	f.Add(super(0))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for i, e := range l.Entries {
			if e.Off+e.Len > 1<<16 {
				continue
			}
			if err := l.Apply(i, make(memory, 1<<16)); err != nil {
				t.Errorf("an accepted entry cannot be replayed: %v", err)
			}
		}
	})
}
