package update

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestAttack_FrameGarbledOnTheWay: a frame that arrives damaged is asked for
// again; if it stays so the download failed, and it is the file if that is so.
func TestAttack_FrameGarbledOnTheWay(t *testing.T) {
	v := newVendor(t)
	v2 := content("2", 3*mib)
	path := v.bundleFile(t, v2, nil)
	garbled, err := os.ReadFile(path)
	must(t, err)
	garbled[len(garbled)/2] ^= 1

	for _, c := range []struct {
		name  string
		times int64 // requests with the damage
		first bool  // --verify-first
		want  error
	}{
		{"twice", 2, false, nil},
		{"twice, reading all of it first", 2, true, nil},
		{"always", 1 << 30, false, source.ErrDownload},
		{"always, reading all of it first", 1 << 30, true, source.ErrDownload},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := v.newDisk(t, content("1", 3*mib))
			u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
			s := newWebServer(t, path)
			s.spoil = func(w http.ResponseWriter, r *http.Request, n int64) bool {
				if n > c.times {
					return false
				}
				w.Header().Set("ETag", `"1"`)
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(garbled))
				return true
			}
			_, err := fetchFrom(s, u, ApplyOptions{VerifyFirst: c.first})
			if !errors.Is(err, c.want) || errors.Is(err, bundle.ErrSignature) {
				t.Fatalf("%v; want %v", err, c.want)
			}
			if err == nil && !holds(t, disk, slot.B, v2) {
				t.Error("the slot has other bytes than the image")
			}
			if state := u.Facts().SlotState(slot.B); err != nil && state != SlotEmpty {
				t.Errorf("slot b is %v", state)
			}
			if n := s.requests.Load(); n < 3 {
				t.Errorf("%d requests", n)
			}
		})
	}
	must(t, os.WriteFile(path, garbled, 0o600))
	u := mustOpen(t, v.newDisk(t, content("1", 3*mib)), slot.A, bootctl.WhyGood)
	if _, err := apply(u, path, ApplyOptions{}); !errors.Is(err, bundle.ErrSignature) {
		t.Errorf("a file: %v; want a signature error", err)
	}
}
