package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestKilledApply kills apply (SIGKILL) at ten moments, and each time lets the
// same command finish the job: what was right is not written again.
func TestKilledApply(t *testing.T) {
	f := getFactory(t)
	whole, err := os.ReadFile(f.v2)
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(f.rootfs)
	if err != nil {
		t.Fatal(err)
	}
	// An apply that nobody kills tells how much there is to send: what the
	// device has already is not asked for.
	total := killApply(t, f.device(t), whole, 0)
	const kills = 10
	for k := int64(1); k <= kills; k++ {
		t.Run(fmt.Sprintf("after %d of %d parts", k, kills+1), func(t *testing.T) {
			t.Parallel()
			disk := f.device(t)
			slotA := readSlotA(t, disk)
			sent := total * k / (kills + 1)
			killApply(t, disk, whole, sent)
			if s := status(t, disk); s["next"] != "a" || s["committed"] != true {
				t.Fatalf("after the kill: %v", s)
			}
			var r result
			lines := strings.Split(strings.TrimSpace(mustRun(t, "--disk", disk, "--json", "apply", f.v2)), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
				t.Fatal(err)
			}
			// Lost are the first MiB, which comes last, and the frames in flight.
			const frame = 512 << 10
			if least := sent - 1<<20 - 6*frame; r.BytesReused < least {
				t.Errorf("reused %d bytes, want at least %d", r.BytesReused, least)
			}
			if r.BytesWritten+r.BytesReused > int64(len(image))+frame || r.BytesWritten+r.BytesReused < int64(len(image)) {
				t.Errorf("written %d, reused %d of %d", r.BytesWritten, r.BytesReused, len(image))
			}
			if !bytes.Equal(slotA, readSlotA(t, disk)) {
				t.Error("the running slot changed")
			}
			if !bytes.Equal(image, readAt(t, disk, slotBStart, int64(len(image)))) {
				t.Error("slot b is not the image")
			}
		})
	}
}

// killApply runs apply and kills it when the server has sent budget bytes; 0 is
// never. It returns how many were sent.
func killApply(t *testing.T, disk string, whole []byte, budget int64) int64 {
	t.Helper()
	var cmd *exec.Cmd
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"2"`)
		http.ServeContent(&meteredWriter{w, func(n int) {
			if now := sent.Add(int64(n)); budget > 0 && now >= budget {
				_ = cmd.Process.Kill()
			}
		}}, r, "", time.Unix(1e9, 0), bytes.NewReader(whole))
	}))
	defer server.Close()
	cmd = command("--disk", disk, "apply", server.URL)
	out, err := cmd.CombinedOutput()
	if budget > 0 && (err == nil || !strings.Contains(err.Error(), "killed")) || budget == 0 && err != nil {
		t.Fatalf("apply, to be killed after %d bytes: %v\n%s", budget, err, out)
	}
	return sent.Load()
}

// meteredWriter tells how many bytes the client was sent. It is slower than
// the client, so that they do not wait in socket buffers.
type meteredWriter struct {
	http.ResponseWriter
	sent func(int)
}

func (w *meteredWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var m int
		m, err = w.ResponseWriter.Write(b[:min(len(b), 16<<10)])
		w.sent(m)
		time.Sleep(time.Millisecond)
		n, b = n+m, b[m:]
	}
	return n, err
}
