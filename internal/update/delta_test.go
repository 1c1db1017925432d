package update

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/delta"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/slot"
)

// relinked is v1 as the next build leaves it: what follows a grown file lies
// elsewhere, and a part of it is changed in places.
func relinked(v1 []byte) []byte {
	v2 := moved(v1)
	for i := 64 << 10; i < 700<<10; i += 90 + i%37 {
		v2[i] += 3
	}
	return v2
}

// deltaFile makes a delta between two images; it returns the whole bundle too.
func (v *vendor) deltaFile(tb testing.TB, v1, v2 []byte, edit func(*bundle.CreateOptions)) (path, full string) {
	tb.Helper()
	old := v.bundleFile(tb, v1, func(o *bundle.CreateOptions) {
		if edit != nil {
			edit(o)
		}
		o.Version = "1.0.0"
	})
	full = v.bundleFile(tb, v2, edit)
	path = full + "d"
	_, err := bundle.CreateDelta(context.Background(), path, bundle.DeltaOptions{From: old, To: full, Level: delta.Quick})
	must(tb, err)
	return path, full
}

func size(tb testing.TB, path string) int64 {
	tb.Helper()
	st, err := os.Stat(path)
	must(tb, err)
	return st.Size()
}

// applyDelta applies a delta with, unless it is empty, a whole bundle behind it.
func applyDelta(tb testing.TB, u *Updater, path, full string, o ApplyOptions) (Applied, error) {
	tb.Helper()
	if full != "" {
		src, err := source.Open(context.Background(), full, nil, source.Options{})
		must(tb, err)
		defer src.Close()
		o.Full = src
	}
	return apply(u, path, o)
}

func TestDelta(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := relinked(v1)
	base := v.newDisk(t, v1)
	path, full := v.deltaFile(t, v1, v2, nil)
	if d, f := size(t, path), size(t, full); d > f/20 {
		t.Errorf("the delta has %d bytes, the bundle %d", d, f)
	}
	for _, o := range []ApplyOptions{{}, {VerifyFirst: true}, {DryRun: true}} {
		disk := base.Clone()
		u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
		done, err := applyDelta(t, u, path, "", o)
		must(t, err)
		if got := holds(t, disk, slot.B, v2); got == o.DryRun {
			t.Errorf("%+v: slot b has the new image: %v (%+v)", o, got, done)
		}
	}
}

// What the running system has changed is taken from the whole bundle, and
// without one the error says so.
func TestDeltaOfChangedSlot(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := relinked(v1)
	path, full := v.deltaFile(t, v1, v2, nil)
	disk := v.newDisk(t, v1)
	_, err := disk.WriteAt(make([]byte, 8192), slotAAt+300<<10)
	must(t, err)
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	_, err = applyDelta(t, u, path, "", ApplyOptions{})
	if !errors.Is(err, bundle.ErrIncompatible) || u.Facts().Slot(slot.B).ArgsValid {
		t.Fatalf("without the whole bundle: %v", err)
	}
	server := newWebServer(t, full)
	_, err = applyDelta(t, u, path, server.URL, ApplyOptions{})
	must(t, err)
	if !holds(t, disk, slot.B, v2) {
		t.Error("slot b does not have the new image")
	}
	if sent := server.sent.Load(); sent > size(t, full)/2 {
		t.Errorf("%d of %d bytes were fetched again", sent, size(t, full))
	}
}

func TestDeltaFromAnotherVersion(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := relinked(v1)
	path, full := v.deltaFile(t, content("0", 3*mib), v2, nil)
	disk := v.newDisk(t, v1)
	before := disk.Clone()
	u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
	if _, err := applyDelta(t, u, path, "", ApplyOptions{}); !errors.Is(err, bundle.ErrIncompatible) {
		t.Fatalf("without the whole bundle: %v", err)
	}
	if !holds(t, disk, slot.B, slotContent(t, before, slotSize)) {
		t.Error("a delta that was refused has written to slot b")
	}
	_, err := applyDelta(t, u, path, full, ApplyOptions{})
	must(t, err)
	if !holds(t, disk, slot.B, v2) {
		t.Error("slot b does not have the new image")
	}
}

func slotContent(tb testing.TB, disk *blockdevtest.Disk, n int) []byte {
	tb.Helper()
	b := make([]byte, n)
	_, err := disk.ReadAt(b, slotBAt)
	must(tb, err)
	return b
}

// The whole bundle must be the one that the delta leads to.
func TestAttack_DeltaWithAnotherWholeBundle(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 2*mib)
	path, _ := v.deltaFile(t, content("0", 2*mib), relinked(v1), nil)
	other := v.bundleFile(t, content("other", 2*mib), nil)
	u := mustOpen(t, v.newDisk(t, v1), slot.A, bootctl.WhyGood)
	if _, err := applyDelta(t, u, path, other, ApplyOptions{}); !errors.Is(err, bundle.ErrIncompatible) {
		t.Errorf("got %v", err)
	}
	if _, err := applyDelta(t, u, path, path, ApplyOptions{}); err == nil {
		t.Error("a delta served as a whole bundle")
	}
}

// Whatever is done to the delta, its indexes and the old image: the signed
// image or an error; every other time with the whole bundle behind it, which
// makes good what is wrong with a frame. CRASH_SIZE=50 tries 10,000.
func TestAttack_DeltaCorrupted(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 256<<10)
	v2 := append(content("new", 3*bundle.BlockSize), v1...)
	for i := 20 << 10; i < 90<<10; i += 90 + i%37 {
		v2[i] += 3
	}
	path, full := v.deltaFile(t, v1, v2, func(o *bundle.CreateOptions) { o.FrameSize = 64 << 10 })
	good, err := os.ReadFile(path)
	must(t, err)
	base := v.newDisk(t, v1)
	bad := filepath.Join(t.TempDir(), "bad.abud")
	r := rand.New(rand.NewPCG(7, 7))
	right := map[string]int{} // by the whole bundle, if there is one
	corruptions := 200 * blockdevtest.Scale()
	for i := range corruptions {
		behind := []string{"", full}[i%2]
		disk, b := base.Clone(), append([]byte(nil), good...)
		switch r.IntN(6) {
		case 0: // the old image
			for range 1 + r.IntN(4) {
				_, err := disk.WriteAt([]byte{byte(r.Uint32())}, slotAAt+r.Int64N(int64(len(v1))))
				must(t, err)
			}
		case 1:
			b = b[:r.IntN(len(b))]
		case 2:
			at := r.IntN(len(b))
			for j := at; j < min(len(b), at+1+r.IntN(600)); j++ {
				b[j] = byte(r.Uint32())
			}
		default:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		must(t, os.WriteFile(bad, b, 0o600))
		u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
		_, err := applyDelta(t, u, bad, behind, ApplyOptions{})
		switch {
		case err == nil && !holds(t, disk, slot.B, v2):
			t.Fatalf("corruption %d: accepted, and slot b has another image", i)
		case err == nil:
			right[behind]++
		case u.Facts().Slot(slot.B).Record != nil && u.Facts().Slot(slot.B).Record.State == RecordWritten:
			t.Fatalf("corruption %d: refused (%v), but recorded as written", i, err)
		}
		for at := 0; at < len(v2); at += 64 << 10 {
			end := min(at+64<<10, len(v2))
			checkFrame(t, disk, at, v2[at:end], i)
		}
	}
	t.Logf("of %d, the signed image came from %d alone and %d with the whole bundle; the others gave an error", corruptions, right[""], right[full])
	if right[full] <= right[""] {
		t.Error("the whole bundle behind a delta was of no use")
	}
}

// checkFrame: a frame in the slot is the signed one, or was never written.
func checkFrame(t *testing.T, disk *blockdevtest.Disk, at int, want []byte, i int) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := disk.ReadAt(got, slotBAt+int64(at))
	must(t, err)
	if string(got) != string(want) && strings.Trim(string(got), "\x00") != "" {
		t.Fatalf("corruption %d: a wrong frame at byte %d of slot b", i, at)
	}
}
