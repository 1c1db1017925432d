//go:build root

package blockdevtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// TestBlockDeviceConforms runs the suite on a real block device node: there,
// single sectors go past the page cache too.
func TestBlockDeviceConforms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, blockdevtest.ConformanceSize), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup (Debian package mount): %v: %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	defer exec.Command("losetup", "--detach", loop).Run()
	dev, err := blockdev.Open(loop, blockdev.Options{Write: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	blockdevtest.Conform(t, dev)
}
