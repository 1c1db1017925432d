package bundle

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestCompare: a file that moved costs nothing, one that changed is named with
// as much as is new in it, and one that is compressed in itself is called so.
func TestCompare(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	random := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{1}).Read(random)
	_, err := z.Write(random)
	must(t, err)
	must(t, z.Close())

	large := bytes.Repeat([]byte("large file\n"), 50000)
	copy(large[3*BlockSize+100:], "changed here")
	before := filesImage(t, map[string][]byte{"initramfs": []byte("small")})
	// "a" comes first, and moves what is behind it.
	after := filesImage(t, map[string][]byte{"initramfs": packed.Bytes(), "a": random[:50_000], "large": large})
	key := vectorKey(t, 1)
	older, _ := packFiles(t, before, key, "")
	newer, m := packFiles(t, after, key, "")
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, after, 0o600))

	c, err := Compare(older, newer, image)
	must(t, err)
	got := map[string]FileChange{}
	for _, f := range c.Files {
		got[f.Path] = f
	}
	if f := got["/large"]; f.New != BlockSize || f.Size < int64(len(large)) || f.Packed != "" {
		t.Errorf("/large: %+v", f)
	}
	if f := got["/initramfs"]; f.Packed != "gzip" || f.New < 90_000 || c.Files[0] != f {
		t.Errorf("/initramfs: %+v, first %+v", f, c.Files[0])
	}
	if f := got["/a"]; f.New < 49_000 || f.New > 56_000 {
		t.Errorf("/a: %+v", f)
	}
	for _, path := range []string{"/one", "/two", "/three"} {
		if f, ok := got[path]; ok {
			t.Errorf("%+v, and nothing in it changed", f)
		}
	}
	sum := c.Metadata
	for _, f := range c.Files {
		sum += f.New
	}
	if sum != c.New || c.New > c.Data || c.Fetch > m.Images[0].CompressedSize || c.Fetch == 0 {
		t.Errorf("files and metadata have %d new bytes: %+v", sum, c)
	}

	// Packed for devices that have the older one, less of what they have comes
	// along with what is new.
	apart, _ := packFiles(t, after, key, older)
	less, err := Compare(older, apart, image)
	must(t, err)
	if less.New != c.New || less.Fetch >= c.Fetch {
		t.Errorf("fetched %d of %d new bytes, and %d without the older bundle", less.Fetch, less.New, c.Fetch)
	}

	same, err := Compare(newer, newer, image)
	must(t, err)
	if same.New != 0 || same.Fetch != 0 || len(same.Files) != 0 {
		t.Errorf("compared with itself: %+v", same)
	}
}
