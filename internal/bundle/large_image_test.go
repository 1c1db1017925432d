//go:build large

// It needs 13 GiB of disk.

package bundle

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/minio/sha256-simd"
)

// An image of 9 GiB with more than 4 GiB that does not compress: sizes that
// need more than 32 bits, and an entry beyond what octal tar sizes can say
// would need more disk still (see TestJudge_TarLargeSize).
func TestLargeImage(t *testing.T) {
	dir := t.TempDir()
	image, path := filepath.Join(dir, "rootfs.img"), filepath.Join(dir, "big.abu")
	f, err := os.Create(image)
	must(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 4<<20)
	for range (4<<30 + 64<<20) / len(buf) {
		for i := 0; i < len(buf); i += 8 {
			binary.LittleEndian.PutUint64(buf[i:], rnd.Uint64())
		}
		_, err := f.Write(buf)
		must(t, err)
	}
	must(t, f.Truncate(9<<30))
	must(t, f.Close())

	key := newKey(t)
	ring := newRing(t, 1, key)
	m, err := Create(context.Background(), path, CreateOptions{
		Product: "big", Version: "1.0.0", Compatible: []string{"x"}, Level: 1, Keys: []*PrivateKey{key},
		Images: []ImageSource{{Name: "rootfs", Path: image}},
	})
	must(t, err)
	must(t, os.Remove(image))
	if m.Images[0].CompressedSize <= 4<<30 {
		t.Fatalf("the payload has only %d bytes", m.Images[0].CompressedSize)
	}
	b, err := os.Open(path)
	must(t, err)
	defer b.Close()
	out := filepath.Join(dir, "out")
	_, err = Extract(context.Background(), NewStream(b), ring, out, nil)
	must(t, err)
	if got := fileDigest(t, filepath.Join(out, "rootfs.img")); got != m.Images[0].SHA256 {
		t.Error("another image came out")
	}
	// tar and zstd agree.
	tar, zstd := need(t, "tar", "tar"), need(t, "zstd", "zstd")
	must(t, os.Remove(filepath.Join(out, "rootfs.img")))
	run(t, out, tar, "-xf", path)
	must(t, os.Remove(path))
	run(t, out, zstd, "-q", "-d", "--rm", "rootfs.zst", "-o", "again.img")
	if got := fileDigest(t, filepath.Join(out, "again.img")); got != m.Images[0].SHA256 {
		t.Error("zstd restores another image")
	}
}

func fileDigest(t *testing.T, path string) (d Digest) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	must(t, err)
	h.Sum(d[:0])
	return d
}
