package blockdevtest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// ConformanceSize is the size in bytes of the device that Conform needs.
const ConformanceSize = 4 << 20

// Conform checks that a device keeps the contract of blockdev.Device. The
// simulated disk, a disk image and a real block device all pass it: so what
// holds on the simulated one holds on the others.
func Conform(t *testing.T, dev blockdev.Device) {
	t.Helper()
	if dev.Size() != ConformanceSize {
		t.Fatalf("Size() = %d, want %d", dev.Size(), ConformanceSize)
	}
	t.Run("writes are read back", func(t *testing.T) { conformWrites(t, dev) })
	t.Run("the end", func(t *testing.T) { conformEnd(t, dev) })
	t.Run("zeroing", func(t *testing.T) { conformZero(t, dev) })
	t.Run("section", func(t *testing.T) { conformSection(t, dev) })
	t.Run("a thousand operations", func(t *testing.T) { conformRandom(t, dev) })
}

// conformWrites writes at every alignment that the package uses: one sector,
// whole blocks, and neither.
func conformWrites(t *testing.T, dev blockdev.Device) {
	for _, c := range []struct{ off, length int }{
		{0, 512}, {512, 512}, {4096, 4096}, {4096 + 512, 3584}, {1 << 20, 1 << 20}, {100, 7}, {4095, 2},
	} {
		want := pattern(c.length, byte(c.off))
		if n, err := dev.WriteAt(want, int64(c.off)); err != nil || n != c.length {
			t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", c.length, c.off, n, err)
		}
		if err := dev.Sync(); err != nil {
			t.Fatalf("Sync: %v", err)
		}
		for _, buf := range [][]byte{make([]byte, c.length), blockdev.AlignedBuffer(c.length)} {
			if n, err := dev.ReadAt(buf, int64(c.off)); err != nil || n != c.length || !bytes.Equal(buf, want) {
				t.Errorf("ReadAt(%d bytes, %d) = %d, %v, or other bytes", c.length, c.off, n, err)
			}
		}
	}
}

func conformEnd(t *testing.T, dev blockdev.Device) {
	size := dev.Size()
	last := pattern(512, 9)
	if _, err := dev.WriteAt(last, size-512); err != nil {
		t.Fatalf("writing the last sector: %v", err)
	}
	buf := make([]byte, 1024)
	if n, err := dev.ReadAt(buf, size-512); n != 512 || !errors.Is(err, io.EOF) || !bytes.Equal(buf[:n], last) {
		t.Errorf("reading over the end = %d, %v; want 512, io.EOF", n, err)
	}
	if n, err := dev.ReadAt(buf, size); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("reading at the end = %d, %v; want 0, io.EOF", n, err)
	}
	if _, err := dev.ReadAt(buf, -1); err == nil {
		t.Error("reading before the start: no error")
	}
	for _, off := range []int64{-1, size - 511, size, 1 << 62} {
		if n, err := dev.WriteAt(last, off); n != 0 || !errors.Is(err, blockdev.ErrOutOfRange) {
			t.Errorf("WriteAt(512 bytes, %d) = %d, %v; want 0, ErrOutOfRange", off, n, err)
		}
	}
	if _, err := dev.ReadAt(buf[:512], size-512); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(buf[:512], last) {
		t.Errorf("a refused write changed the last sector, or: %v", err)
	}
}

func conformZero(t *testing.T, dev blockdev.Device) {
	const start, length = 2 << 20, 64 << 10
	for _, c := range []struct{ off, n int64 }{{0, length}, {4096, 8192}, {512, 512}, {100, 5000}} {
		want := pattern(length, 3)
		if _, err := dev.WriteAt(want, start); err != nil {
			t.Fatal(err)
		}
		if err := blockdev.Zero(dev, start+c.off, c.n); err != nil {
			t.Fatalf("Zero(%d, %d): %v", c.off, c.n, err)
		}
		clear(want[c.off : c.off+c.n])
		got := make([]byte, length)
		if _, err := dev.ReadAt(got, start); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Zero(%d, %d) did not zero exactly that: %v", c.off, c.n, err)
		}
	}
	if err := blockdev.Zero(dev, dev.Size()-512, 1024); !errors.Is(err, blockdev.ErrOutOfRange) {
		t.Errorf("Zero over the end = %v, want ErrOutOfRange", err)
	}
}

func conformSection(t *testing.T, dev blockdev.Device) {
	const off, size = 3 << 20, 8192
	s, err := blockdev.Section(dev, off, size)
	if err != nil {
		t.Fatal(err)
	}
	want := pattern(4096, 5)
	if _, err := s.WriteAt(want, 4096); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4096)
	if _, err := dev.ReadAt(got, off+4096); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a write to the section is not at its place: %v", err)
	}
	if _, err := s.WriteAt(want, 4097); !errors.Is(err, blockdev.ErrOutOfRange) {
		t.Errorf("write over the section's end = %v, want ErrOutOfRange", err)
	}
	if n, err := s.ReadAt(got, 8000); n != 192 || !errors.Is(err, io.EOF) {
		t.Errorf("read over the section's end = %d, %v; want 192, io.EOF", n, err)
	}
	scattered := blockdev.Scatter(s)
	scattered.Expect(0, size)
	scattered.Expect(size, size) // a hint, whatever it says
	if n, err := scattered.ReadAt(got, 4096); n != 4096 || err != nil || !bytes.Equal(got, want) {
		t.Errorf("a scattered read = %d, %v, which gives the same: %v", n, err, bytes.Equal(got, want))
	}
	if n, err := scattered.ReadAt(got, 8000); n != 192 || !errors.Is(err, io.EOF) {
		t.Errorf("scattered read over the section's end = %d, %v; want 192, io.EOF", n, err)
	}
	if _, err := blockdev.Section(dev, dev.Size()-1, 2); !errors.Is(err, blockdev.ErrOutOfRange) {
		t.Errorf("section over the end = %v, want ErrOutOfRange", err)
	}
}

// conformRandom goes through operations at random places and holds the device
// against plain memory. All devices go through the same ones.
func conformRandom(t *testing.T, dev blockdev.Device) {
	want := make([]byte, ConformanceSize)
	if err := blockdev.Zero(dev, 0, ConformanceSize); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		length := 1 + rng.IntN(3*4096)
		off := rng.IntN(ConformanceSize - length)
		if rng.IntN(2) == 0 { // whole sectors, as most of our access
			off, length = off/512*512, (length+511)/512*512
		}
		var err error
		switch rng.IntN(4) {
		case 0:
			err = blockdev.Zero(dev, int64(off), int64(length))
			clear(want[off : off+length])
		case 1:
			got := make([]byte, length)
			if _, err = dev.ReadAt(got, int64(off)); !bytes.Equal(got, want[off:off+length]) {
				t.Fatalf("ReadAt(%d bytes, %d): other bytes than were written", length, off)
			}
		case 2:
			err = dev.Sync()
		default:
			b := pattern(length, byte(rng.Uint32()))
			_, err = dev.WriteAt(b, int64(off))
			copy(want[off:], b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31) ^ byte(i>>8) ^ seed | 1 // never zero
	}
	return b
}
