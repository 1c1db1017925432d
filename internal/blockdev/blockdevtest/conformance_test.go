package blockdevtest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

func TestDiskConforms(t *testing.T) {
	blockdevtest.Conform(t, blockdevtest.New(blockdevtest.ConformanceSize, blockdev.SectorSize))
}

func TestFileConforms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, make([]byte, blockdevtest.ConformanceSize), 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := blockdev.Open(path, blockdev.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	blockdevtest.Conform(t, dev)
}
