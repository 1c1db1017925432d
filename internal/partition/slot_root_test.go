//go:build root

package partition

import (
	"bytes"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// loop attaches a disk image to a loop device.
func loop(t *testing.T, path string) string {
	t.Helper()
	node := strings.TrimSpace(judge(t, "", tool(t, "losetup", "mount"), "--show", "-f", path))
	t.Cleanup(func() { judge(t, "", tool(t, "losetup", "mount"), "-d", node) })
	return node
}

// TestSlotOnABlockDevice writes through O_DIRECT and BLKZEROOUT.
func TestSlotOnABlockDevice(t *testing.T) {
	file, img := image(t, slotSize), testImage(4)
	poke(t, file, 0, bytes.Repeat([]byte{0x5A}, slotSize)...)
	dev, err := blockdev.Open(loop(t, file.Path()), blockdev.Options{Write: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	written, err := install(dev, img)
	if err != nil || written != int64(len(img)) {
		t.Fatalf("%d bytes written: %v", written, err)
	}
	if written, err = install(dev, img); err != nil || written != 0 {
		t.Errorf("again: %d bytes written: %v", written, err)
	}
	if !bytes.Equal(content(t, dev, 0, len(img)), img) {
		t.Error("another content")
	}
	if rest := content(t, dev, int64(len(img)), slotSize-len(img)); !bytes.Equal(rest, bytes.Repeat([]byte{0x5A}, len(rest))) {
		t.Error("bytes behind the image changed")
	}
}
