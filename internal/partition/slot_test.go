package partition

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

const (
	slotOff  = 1 * mib // where the slot lies on the test's disk
	slotSize = 3 * mib
	frame    = 768 << 10 // the second frame lies across the end of the first MiB
)

// testImage has random bytes, a long run of zeros, and a short last frame.
func testImage(seed uint64) []byte {
	b := make([]byte, 2*mib+512)
	rng := rand.New(rand.NewPCG(seed, 7))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	clear(b[1200<<10 : 1600<<10])
	return b
}

func pieces(image []byte) []Piece {
	var out []Piece
	for off := 0; off < len(image); off += frame {
		data := image[off:min(off+frame, len(image))]
		out = append(out, Piece{int64(off), int64(len(data)), sha256.Sum256(data), isZero(data)})
	}
	return out
}

// guard is the slot of a larger disk; a write outside of it fails the test.
type guard struct {
	blockdev.Device
	t        *testing.T
	off, end int64
}

func (g *guard) WriteAt(p []byte, off int64) (int, error) {
	g.check(off, int64(len(p)))
	return g.Device.WriteAt(p, off)
}

func (g *guard) ZeroRange(off, n int64) error {
	g.check(off, n)
	return blockdev.Zero(g.Device, off, n)
}

func (g *guard) check(off, n int64) {
	if off < g.off || off+n > g.end {
		g.t.Errorf("write of [%d, %d) outside of the slot [%d, %d)", off, off+n, g.off, g.end)
	}
}

func slotOn(t *testing.T, d *blockdevtest.Disk) blockdev.Device {
	t.Helper()
	s, err := blockdev.Section(&guard{d, t, slotOff, slotOff + slotSize}, slotOff, slotSize)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// install does what apply does: find, write, finish, verify.
func install(dev blockdev.Device, image []byte) (written int64, err error) {
	w, err := NewSlotWriter(dev, int64(len(image)))
	if err != nil {
		return 0, err
	}
	for _, p := range pieces(image) {
		held, err := w.Holds(p)
		switch {
		case err != nil || held:
		case p.Zero:
			err = w.WriteZeros(p.Off, p.Len)
		default:
			err = w.WriteFrame(p.Off, image[p.Off:p.Off+p.Len])
		}
		if err != nil {
			return w.BytesWritten(), err
		}
	}
	if err := w.Finish(); err != nil {
		return w.BytesWritten(), err
	}
	return w.BytesWritten(), w.Verify(context.Background(), pieces(image), nil)
}

func content(t testing.TB, d blockdev.Device, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := d.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	return b
}

// diskWith is a disk with an image in the slot and a pattern around it.
func diskWith(t testing.TB, image []byte) *blockdevtest.Disk {
	d := blockdevtest.New(slotOff+slotSize+mib, sector)
	poke(t, d, 0, bytes.Repeat([]byte{0x5A}, slotOff+slotSize+mib)...)
	poke(t, d, slotOff, image...)
	return d.Clone()
}

// TestCrashInSlot: a first MiB that is there stands before one whole image, the
// old or the new; the writer run again finishes the job, and is cut again.
func TestCrashInSlot(t *testing.T) {
	for variant := range uint64(blockdevtest.Variants()) {
		old, image := testImage(2*variant+1), testImage(2*variant+2)
		shared := bytes.Clone(image) // the same first MiB and more, another end
		copy(shared[1700<<10:], old[1700<<10:])
		for name, before := range map[string][]byte{
			"over another image":        old,
			"over one with equal start": shared,
			"over zeros":                make([]byte, slotSize),
		} {
			t.Run(fmt.Sprintf("%s, variant %d", name, variant), func(t *testing.T) {
				t.Parallel()
				crashInSlot(t, diskWith(t, before), before, image)
			})
		}
		t.Run(fmt.Sprintf("sectors of 4096, variant %d", variant), func(t *testing.T) {
			t.Parallel()
			base := diskWith(t, old)
			base.SetPhysicalSector(4096)
			crashInSlot(t, base, old, image)
		})
	}
}

func crashInSlot(t *testing.T, base *blockdevtest.Disk, before, image []byte) {
	write := func(d *blockdevtest.Disk) error {
		_, err := install(slotOn(t, d), image)
		return err
	}
	got := make([]byte, len(image))
	around := make([]byte, 2*mib)
	blockdevtest.Campaign{
		Base: base, Run: write, Recover: write, Recoveries: 1,
		Check: func(c blockdevtest.Crash) error {
			done := c.Done || c.First != nil && c.First.Done
			if _, err := c.Disk.ReadAt(got, slotOff); err != nil {
				if !done { // not readable, not bootable
					return nil
				}
				return err
			}
			head, rest := got[:HeadSize], got[HeadSize:]
			switch {
			case done && !bytes.Equal(got, image):
				return errors.New("acknowledged and not there")
			case !isZero(head) && !bytes.Equal(rest, image[HeadSize:]) && !bytes.Equal(rest, before[HeadSize:][:len(rest)]):
				return errors.New("a first MiB before a mixture of two images")
			case !done: // guard has seen each write
				return nil
			}
			_, err := c.Disk.ReadAt(around[:mib], 0)
			_, errBehind := c.Disk.ReadAt(around[mib:], slotOff+slotSize)
			if !bytes.Equal(around, bytes.Repeat([]byte{0x5A}, 2*mib)) {
				err = errors.Join(err, errBehind, errors.New("bytes outside of the slot changed"))
			}
			return err
		},
	}.Test(t)
}

// TestSlotResumesAfterAnyCut stops the writer at each operation, then runs it
// again: nothing that was right is written again but the first MiB, which was
// not there, and the frame under way.
func TestSlotResumesAfterAnyCut(t *testing.T) {
	image := testImage(2)
	stop := errors.New("killed")
	for n := 0; ; n++ {
		d := diskWith(t, testImage(1))
		d.Fail(n, stop, true)
		first, err := install(slotOn(t, d), image)
		if err == nil {
			return
		}
		if !errors.Is(err, stop) {
			t.Fatalf("operation %d: %v", n, err)
		}
		d = d.Clone() // the fault is gone, the content stays
		second, err := install(slotOn(t, d), image)
		if err != nil {
			t.Fatalf("operation %d: again: %v", n, err)
		}
		if !bytes.Equal(content(t, d, slotOff, len(image)), image) {
			t.Fatalf("operation %d: another content after the second run", n)
		}
		if most := int64(len(image)) + frame; first+second > most {
			t.Errorf("operation %d: %d + %d bytes written for an image of %d", n, first, second, len(image))
		}
		// Once more: everything is there, and only its durability is made sure.
		d = d.Clone()
		if third, err := install(slotOn(t, d), image); err != nil || third != 0 || len(d.Log()) != 1 || !d.Log()[0].Sync {
			t.Errorf("operation %d: a third run wrote %d bytes: %v (%v)", n, third, d.Log(), err)
		}
	}
}

func TestSlotWithFaults(t *testing.T) {
	image := testImage(2)
	fault := errors.New("input/output error")
	for n := 0; ; n++ {
		d := diskWith(t, testImage(1))
		d.Fail(n, fault, false) // once only: a Sync that is tried again would succeed
		_, err := install(slotOn(t, d), image)
		if n >= d.Ops() {
			if err != nil {
				t.Errorf("no fault, but %v", err)
			}
			return
		}
		if !errors.Is(err, fault) {
			t.Errorf("operation %d failed, install returned %v", n, err)
		}
	}
}

func TestSlotAfterAFaultNothingWorks(t *testing.T) {
	image, fault := testImage(2), errors.New("input/output error")
	d := diskWith(t, testImage(1))
	w, err := NewSlotWriter(slotOn(t, d), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	d.Fail(d.Ops(), fault, false)
	if err := w.WriteFrame(mib, image[mib:2*mib]); !errors.Is(err, fault) {
		t.Fatalf("WriteFrame: %v", err)
	}
	for _, err := range []error{w.Begin(), w.WriteFrame(0, image[:frame]), w.Finish()} {
		if !errors.Is(err, fault) {
			t.Errorf("after a failed write: %v", err)
		}
	}
}

func TestSlotConcurrentOnAFile(t *testing.T) {
	dev := image(t, slotSize)
	img := testImage(3)
	w, err := NewSlotWriter(dev, int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for _, p := range pieces(img) {
		g.Go(func() error {
			if held, err := w.Holds(p); held || err != nil {
				t.Errorf("an empty slot holds %+v (%v)", p, err)
			}
			return w.WriteFrame(p.Off, img[p.Off:p.Off+p.Len])
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if !isZero(content(t, dev, 0, HeadSize)) {
		t.Error("the first MiB is there before Finish")
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if w.BytesWritten() != int64(len(img)) {
		t.Errorf("%d bytes written of %d", w.BytesWritten(), len(img))
	}
	last := int64(0)
	if err := w.Verify(t.Context(), pieces(img), func(done int64) { last = max(last, done) }); err != nil || last != int64(len(img)) {
		t.Errorf("Verify: %v, progress up to %d", err, last)
	}
	poke(t, dev, 1100<<10, img[1100<<10]^1)
	if err := w.Verify(t.Context(), pieces(img), nil); !errors.Is(err, ErrReadBack) {
		t.Errorf("Verify of a changed slot: %v", err)
	}
	if err := w.Verify(t.Context(), pieces(img)[1:], nil); err == nil {
		t.Error("Verify of a part of the image passed")
	}
}

// TestSlotHeldHead: the first frame is found, then another one differs. The
// first MiB has to go and to come back without being given again.
func TestSlotHeldHead(t *testing.T) {
	img := testImage(2)
	changed := bytes.Clone(img)
	changed[len(img)-1] ^= 1
	d := diskWith(t, changed)
	if _, err := install(slotOn(t, d), img); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, d, slotOff, len(img)), img) {
		t.Error("another content")
	}
}

func TestSlotRefusals(t *testing.T) {
	d := diskWith(t, nil)
	for _, size := range []int64{0, -512, 100} {
		if _, err := NewSlotWriter(slotOn(t, d), size); err == nil {
			t.Errorf("an image of %d bytes was accepted", size)
		}
	}
	if _, err := NewSlotWriter(slotOn(t, d), slotSize+512); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	img := testImage(2)
	w, err := NewSlotWriter(slotOn(t, d), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame(int64(len(img))-512, make([]byte, 1024)); !errors.Is(err, blockdev.ErrOutOfRange) {
		t.Errorf("past the image: %v", err)
	}
	if _, err := w.Holds(Piece{Off: -1, Len: 10}); !errors.Is(err, blockdev.ErrOutOfRange) {
		t.Errorf("before the image: %v", err)
	}
	if err := w.WriteFrame(0, img[:frame]); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err == nil {
		t.Error("Finish of an incomplete image passed")
	}
	if !isZero(content(t, d, slotOff, HeadSize)) {
		t.Error("an incomplete image got its first MiB")
	}
}
