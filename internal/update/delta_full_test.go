package update

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/slot"
)

// TestDeltaRunningSlotChanges: slot a is mounted read-write, and is written to
// while slot b is made of it. What the delta then cannot make comes from the
// whole bundle.
func TestDeltaRunningSlotChanges(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := relinked(v1)
	path, full := v.deltaFile(t, v1, v2, nil)
	disk := v.newDisk(t, v1)
	dev, err := OnDisk(disk, slot.A, bootctl.WhyGood)
	must(t, err)
	changed := false
	u, err := Open(dev, Options{AgentVersion: "1.0.0", Progress: func(label string, done, _ int64) {
		if !changed && strings.HasPrefix(label, "writing") && done > 0 {
			changed = true
			for at := int64(mib); at < 3*mib; at += 512 << 10 {
				_, err := disk.WriteAt([]byte("written by the running system"), slotAAt+at)
				must(t, err)
			}
		}
	}})
	must(t, err)
	s := newWebServer(t, full)
	_, err = applyDelta(t, u, path, s.URL, ApplyOptions{})
	must(t, err)
	if !changed || !holds(t, disk, slot.B, v2) {
		t.Fatalf("slot b does not hold the image; slot a changed: %v", changed)
	}
	if s.requests.Load() == 0 {
		t.Error("nothing came from the whole bundle, although the delta could not make it all")
	}
}

// TestAttack_DeltaFullServer: the server of the whole bundle behind a delta
// lies, changes its file or goes away.
func TestAttack_DeltaFullServer(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := relinked(v1)
	path, full := v.deltaFile(t, v1, v2, smallFrames)
	base := v.newDisk(t, v1)
	_, err := base.WriteAt(make([]byte, 600<<10), slotAAt+mib) // the running system has changed
	must(t, err)
	lie := func(etag string) func(w http.ResponseWriter, r *http.Request, n int64) bool {
		return func(w http.ResponseWriter, r *http.Request, n int64) bool {
			if n <= 2 { // the head and the indexes
				return false
			}
			w.Header().Set("ETag", etag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content("lie", int(size(t, full)))))
			return true
		}
	}
	for name, c := range map[string]struct {
		spoil func(w http.ResponseWriter, r *http.Request, n int64) bool
		want  error
	}{
		"other bytes":           {lie(`"1"`), source.ErrDownload},
		"changed in the middle": {lie(`"2"`), source.ErrDownload},
		"gone": {func(w http.ResponseWriter, r *http.Request, n int64) bool {
			http.NotFound(w, r)
			return true
		}, source.ErrDownload},
	} {
		t.Run(name, func(t *testing.T) {
			disk := base.Clone()
			s := newWebServer(t, full)
			s.spoil = c.spoil
			u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
			if _, err := applyDelta(t, u, path, s.URL, ApplyOptions{}); !errors.Is(err, c.want) {
				t.Fatalf("%v; want %v", err, c.want)
			}
			if u.Facts().SlotState(slot.B) == SlotWritten || u.Facts().Boot.Primary != slot.A {
				t.Errorf("slot b is %v, primary %v", u.Facts().SlotState(slot.B), u.Facts().Boot.Primary)
			}
			// With an honest server the same command finishes the job.
			s.spoil = nil
			_, err := applyDelta(t, u, path, s.URL, ApplyOptions{})
			must(t, err)
			if !holds(t, disk, slot.B, v2) {
				t.Error("slot b does not hold the image after the second try")
			}
		})
	}
}
