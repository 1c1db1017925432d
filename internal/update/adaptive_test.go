package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/slot"
)

// webServer serves one bundle and counts.
type webServer struct {
	*httptest.Server
	requests, sent atomic.Int64
	// spoil may answer in place of the server.
	spoil func(w http.ResponseWriter, r *http.Request, n int64) (done bool)
}

func newWebServer(t *testing.T, path string) *webServer {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	s := &webServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.requests.Add(1)
		out := &countingWriter{w, &s.sent}
		if s.spoil != nil && s.spoil(out, r, n) {
			return
		}
		out.Header().Set("ETag", `"1"`)
		http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(s.Close)
	return s
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// fetchFrom applies what the server has.
func fetchFrom(s *webServer, u *Updater, o ApplyOptions) (Applied, error) {
	ctx := context.Background()
	src, err := source.Open(ctx, s.URL, nil, source.Options{Retries: -1, RetryDelay: time.Millisecond, IdleTimeout: 5 * time.Second})
	if err != nil {
		return Applied{}, err
	}
	defer src.Close()
	return u.Apply(ctx, src, o)
}

// smallFrames makes frames of which a few hold all that is new.
func smallFrames(o *bundle.CreateOptions) { o.FrameSize = 16 << 10 }

// moved is v1 as the next build leaves it: a file in front has grown by three
// blocks, so that all behind it lies elsewhere, and one block is new.
func moved(v1 []byte) []byte {
	v2 := append(content("new", 3*bundle.BlockSize), v1[:len(v1)-3*bundle.BlockSize]...)
	copy(v2[2*mib:], content("changed", bundle.BlockSize))
	return v2
}

// TestAdaptive: what the device has is not fetched, wherever it lies, and the
// slot is the image, byte for byte.
func TestAdaptive(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := moved(v1)
	path := v.bundleFile(t, v2, smallFrames)

	other := content("other", 3*mib)
	half := append(bytes.Clone(other[:mib+mib/2]), v2[mib+mib/2:]...)
	aged := bytes.Clone(v1)
	copy(aged[mib:], content("written by the running system", mib/2))
	for name, c := range map[string]struct {
		running, target []byte
		most            int64 // bytes to be sent
	}{
		"from the running slot":                        {v1, nil, 200_000},
		"from the target, overwritten before its turn": {other, v1, 3_000_000},
		"from a half-written target":                   {other, half, 1_700_000},
		"from both":                                    {aged, v1, 700_000},
		"from further on in the target":                {other, append(content("x", 9*bundle.BlockSize), v2[:3*mib]...), 1_400_000},
		"nothing, so that the stream comes in one run": {other, nil, 3_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			disk := v.newDisk(t, c.running)
			if c.target != nil {
				_, err := disk.WriteAt(c.target, slotBAt)
				must(t, err)
			}
			s := newWebServer(t, path)
			done, err := fetchFrom(s, mustOpen(t, disk, slot.A, bootctl.WhyGood), ApplyOptions{})
			must(t, err)
			if !holds(t, disk, slot.B, v2) || !holds(t, disk, slot.A, c.running) {
				t.Error("the slots do not hold what they should")
			}
			t.Logf("%d requests, %d bytes sent, %d reused", s.requests.Load(), s.sent.Load(), done.BytesReused)
			if s.sent.Load() > c.most {
				t.Errorf("%d bytes sent, more than %d", s.sent.Load(), c.most)
			}
		})
	}
}

// TestAdaptiveRunningSlotChanges: slot a is mounted read-write, and what was
// seen there is gone when it is read: the signed hash finds out, and the frame
// is fetched.
func TestAdaptiveRunningSlotChanges(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := moved(v1)
	disk := v.newDisk(t, v1)
	dev, err := OnDisk(disk, slot.A, bootctl.WhyGood)
	must(t, err)
	changed := false
	u, err := Open(dev, Options{AgentVersion: "1.0.0", Progress: func(label string, _, _ int64) {
		if !changed && strings.HasPrefix(label, "writing") {
			changed = true
			for at := int64(64 << 10); at < 3*mib; at += 512 << 10 {
				_, err := disk.WriteAt([]byte("written by the running system"), slotAAt+at)
				must(t, err)
			}
		}
	}})
	must(t, err)
	s := newWebServer(t, v.bundleFile(t, v2, smallFrames))
	_, err = fetchFrom(s, u, ApplyOptions{})
	must(t, err)
	if !changed || !holds(t, disk, slot.B, v2) {
		t.Fatalf("slot b does not hold the image; slot a changed: %v", changed)
	}
	if sent := s.sent.Load(); sent > 500_000 {
		t.Errorf("%d bytes sent", sent)
	}
}

// TestAttack_AdaptiveServer: servers that have no ranges, lie about them, or
// change the file in the middle.
func TestAttack_AdaptiveServer(t *testing.T) {
	v := newVendor(t)
	v1 := content("1", 3*mib)
	v2 := moved(v1)
	path := v.bundleFile(t, v2, smallFrames)
	whole, err := os.ReadFile(path)
	must(t, err)
	serveAll := func(w http.ResponseWriter, code int, body []byte) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(code)
		_, _ = w.Write(body)
	}
	for name, c := range map[string]struct {
		spoil func(w http.ResponseWriter, r *http.Request, n int64) bool
		want  error // nil: the update succeeds
	}{
		"no ranges": {func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
			serveAll(w, http.StatusOK, whole)
			return true
		}, nil},
		"no ranges any more": {func(w http.ResponseWriter, _ *http.Request, n int64) bool {
			if n > 2 {
				serveAll(w, http.StatusOK, whole)
			}
			return n > 2
		}, nil},
		"other bytes in a range": {func(w http.ResponseWriter, r *http.Request, n int64) bool {
			if n <= 2 {
				return false
			}
			other := content("lie", len(whole))
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(other))
			return true
		}, source.ErrDownload},
		"another range than asked for": {func(w http.ResponseWriter, r *http.Request, n int64) bool {
			if n > 2 {
				r.Header.Set("Range", "bytes=4096-8191")
			}
			return false
		}, source.ErrDownload},
		"changed in the middle": {func(w http.ResponseWriter, r *http.Request, n int64) bool {
			if n <= 2 {
				return false
			}
			w.Header().Set("ETag", `"2"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content("another", len(whole))))
			return true
		}, source.ErrDownload},
		"gone in the middle": {func(w http.ResponseWriter, _ *http.Request, n int64) bool {
			if n > 2 {
				http.Error(w, "gone", http.StatusNotFound)
			}
			return n > 2
		}, source.ErrDownload},
	} {
		t.Run(name, func(t *testing.T) {
			disk := v.newDisk(t, v1)
			s := newWebServer(t, path)
			s.spoil = c.spoil
			_, err := fetchFrom(s, mustOpen(t, disk, slot.A, bootctl.WhyGood), ApplyOptions{})
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("%v; want %v", err, c.want)
			}
			if c.want == nil {
				if !holds(t, disk, slot.B, v2) {
					t.Error("slot b does not hold the image")
				}
				return
			}
			u := mustOpen(t, disk, slot.A, bootctl.WhyGood)
			if u.Facts().SlotState(slot.B) == SlotWritten || u.Facts().Boot.Primary != slot.A {
				t.Errorf("slot b is %v, primary %v", u.Facts().SlotState(slot.B), u.Facts().Boot.Primary)
			}
			// With an honest server the same command finishes the job.
			s.spoil = nil
			_, err = fetchFrom(s, u, ApplyOptions{})
			must(t, err)
			if !holds(t, disk, slot.B, v2) {
				t.Error("slot b does not hold the image after the second try")
			}
		})
	}
}

// TestMerge: the ranges are in order, cover what they must, and are few.
func TestMerge(t *testing.T) {
	var ranges []source.Range
	for i := range int64(2000) {
		at := i * 100_000
		ranges = append(ranges, source.Range{Off: at, End: at + 1000 + i%7*10_000})
	}
	for _, limit := range []int{1, 2, 17, 590, 5000} {
		out := merge(ranges, limit)
		if len(out) > limit || len(out) > len(ranges) {
			t.Errorf("limit %d: %d ranges", limit, len(out))
		}
		j := 0
		for _, r := range ranges {
			for out[j].End < r.End {
				j++
			}
			if r.Off < out[j].Off {
				t.Fatalf("limit %d: %v is not covered", limit, r)
			}
		}
	}
	if out := merge([]source.Range{{Off: 0, End: 10}, {Off: 20, End: 30}}, 590); len(out) != 1 {
		t.Errorf("a gap of 10 bytes costs a request: %v", out)
	}
}
