//go:build large

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	// maxResident is the most memory that apply may take, whatever the image.
	maxResident = 64 * mib
)

// randomImage writes an image of size bytes whose first noise bytes do not
// compress.
func randomImage(t *testing.T, path string, size, noise int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, mib)
	if _, err := io.CopyN(w, rand.NewChaCha8([32]byte{1}), noise); err != nil {
		t.Fatalf("this test needs about 13 GiB of disk: %v", err)
	}
	if err := w.Flush(); err != nil {
		t.Fatalf("this test needs about 13 GiB of disk: %v", err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// applyOverHTTP streams a bundle of image into a device whose slots have
// slotSize, and returns the result and the peak memory in bytes. The image is
// gone afterwards: a third of the disk that this takes.
func applyOverHTTP(t *testing.T, image, slotSize, diskSize string) (r result, resident int64, bundleSize int64, disk string) {
	t.Helper()
	f := getFactory(t)
	dir := filepath.Dir(image)
	path := filepath.Join(dir, "large.abu")
	mustRun(t, "bundle", "create", "--rootfs", image, "--product", "gw", "--compatible", "gw-x86", "--version", "2.0.0",
		"--key", f.key, "--level", "1", "--out", path)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	disk = filepath.Join(dir, "gateway.img")
	mustRun(t, "image", "create", "--bundle", f.v1, "--keyring", f.keyring, "--compatible", "gw-x86", "--firmware", "uefi",
		"--size", diskSize, "--slot-size", slotSize, "--out", disk)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	cmd := command("--disk", disk, "--json", "apply", server.URL+"/large.abu")
	cmd.Dir = t.TempDir()
	cmd.Env = append(cmd.Environ(), "GOMAXPROCS=4") // more processors are not used: the most memory
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	resident = watchMemory(cmd.Process.Pid, ended, &err)
	if err != nil {
		t.Fatalf("apply: %v\n%s%s", err, stdout.String(), stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) != 0 {
		t.Errorf("apply left files behind: %v, %v", left, err)
	}
	return r, resident, st.Size(), disk
}

// watchMemory returns the peak memory of a process in bytes. It polls VmHWM:
// ru_maxrss also counts what the parent had when it forked.
func watchMemory(pid int, ended <-chan error, err *error) (peak int64) {
	for {
		select {
		case *err = <-ended:
			return peak
		case <-time.After(20 * time.Millisecond):
		}
		b, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if readErr != nil {
			continue
		}
		if _, rest, ok := strings.Cut(string(b), "VmHWM:"); ok {
			var kib int64
			if _, scanErr := fmt.Sscanf(rest, "%d", &kib); scanErr == nil {
				peak = max(peak, kib<<10)
			}
		}
	}
}

// TestMemory streams an image of 1.5 GiB over HTTP within 64 MiB of memory.
func TestMemory(t *testing.T) {
	image := filepath.Join(t.TempDir(), "rootfs.img")
	randomImage(t, image, 3*gib/2, 700*mib)
	r, resident, size, _ := applyOverHTTP(t, image, "1600MiB", "4GiB")
	t.Logf("image 1.5 GiB, bundle %d MiB: peak memory %d MiB", size/mib, resident/mib)
	if resident > maxResident {
		t.Errorf("peak memory %d MiB, more than %d", resident/mib, maxResident/mib)
	}
	if r.BytesWritten != 3*gib/2 || r.BytesFetched < size {
		t.Errorf("%+v", r)
	}
}

// TestLarge: an image of 5 GiB in a bundle of more than 4 GiB, where 32-bit
// sizes and the octal sizes of old tars end.
func TestLarge(t *testing.T) {
	image := filepath.Join(t.TempDir(), "rootfs.img")
	const noise = 4*gib + 200*mib
	randomImage(t, image, 5*gib, noise)
	r, resident, size, disk := applyOverHTTP(t, image, "5GiB", "12GiB")
	t.Logf("image 5 GiB, bundle %d MiB: peak memory %d MiB", size/mib, resident/mib)
	if size <= 4*gib {
		t.Errorf("the bundle has only %d bytes", size)
	}
	if resident > maxResident {
		t.Errorf("peak memory %d MiB, more than %d", resident/mib, maxResident/mib)
	}
	if r.BytesWritten != 5*gib {
		t.Errorf("%+v", r)
	}
	if s := status(t, disk); s["next"] != "b" {
		t.Errorf("status %v", s)
	}
}
