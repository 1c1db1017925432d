package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// The test vectors of docs/bundle-format.md, made once with
// go test ./internal/bundle -run Vectors -update. They are read back, not made
// again: another version of the compressor may find shorter frames.
var update = flag.Bool("update", false, "make testdata/vectors again")

const vectors = "testdata/vectors"

// vectorKey is the Ed25519 key whose seed is 32 times the byte n.
func vectorKey(t testing.TB, n byte) *PrivateKey {
	t.Helper()
	k, err := newPrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
	must(t, err)
	return k
}

// vectorImage is one frame of text, zeros and a short last frame.
func vectorImage() []byte {
	img := make([]byte, MinFrameSize+512)
	copy(img, "abupdate test vector\n")
	copy(img[BlockSize:], bytes.Repeat([]byte{0xAB}, BlockSize))
	copy(img[MinFrameSize:], bytes.Repeat([]byte{0xCD}, 512))
	return img
}

func makeVectors(t *testing.T) {
	a, b, c := vectorKey(t, 1), vectorKey(t, 2), vectorKey(t, 3)
	one := newRing(t, 1, a)
	two := one.Successor()
	two.Threshold, two.MinEpoch = 2, 7
	must(t, two.Add(b.Public()))
	must(t, two.Add(c.Public()))
	must(t, two.Revoke(a.Public().ID))
	chain := rotate(t, EmptyKeyrings(), one, two, a, b, c)
	dir := t.TempDir()
	path := filepath.Join(dir, "rootfs.img")
	must(t, os.WriteFile(path, vectorImage(), 0o600))
	must(t, os.MkdirAll(vectors, 0o755))
	_, err := Create(context.Background(), filepath.Join(vectors, "tiny.abu"), CreateOptions{
		Product: "gateway", Version: "1.2.3", Compatible: []string{"gateway-1"}, Epoch: 7,
		Images: []ImageSource{{Name: "rootfs", Path: path, KernelArgs: "quiet"}}, FrameSize: MinFrameSize,
		Keyrings: chain, Keys: []*PrivateKey{b, c},
	})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(vectors, "K1.json"), one.Marshal(), 0o600))
	must(t, os.WriteFile(filepath.Join(vectors, "K2.json"), two.Marshal(), 0o600))
}

func vector(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, name))
	must(t, err)
	return b
}

func vectorRing(t testing.TB, name string) *Keyring {
	t.Helper()
	k, err := ParseKeyring(vector(t, name))
	must(t, err)
	return k
}

func TestVectors(t *testing.T) {
	if *update {
		makeVectors(t)
	}
	b := vector(t, "tiny.abu")
	for _, ring := range []string{"K1.json", "K2.json"} {
		images, err := readAll(NewStream(bytes.NewReader(b)), vectorRing(t, ring))
		must(t, err)
		if !bytes.Equal(images["rootfs"], vectorImage()) {
			t.Errorf("%s: another image", ring)
		}
	}
	// Signatures are deterministic: the vectors fix them.
	u, err := Inspect(NewStream(bytes.NewReader(b)))
	must(t, err)
	for i, n := range []byte{2, 3} {
		sig, err := vectorKey(t, n).Sign(u.PAE)
		must(t, err)
		if got := u.envelope.find(vectorKey(t, n).Public().ID); !bytes.Equal(got, sig) {
			t.Errorf("signature %d is another one", i)
		}
	}
	if !json.Valid(u.Manifest.Marshal()) || !json.Valid(u.chain) {
		t.Error("no JSON")
	}
}

func (e *envelope) find(id string) []byte {
	for _, s := range e.Signatures {
		if s.KeyID == id {
			return s.Sig
		}
	}
	return nil
}

// The block index of the vector, by hand.
func TestVectorBlocks(t *testing.T) {
	got := find(t, entries(t, vector(t, "tiny.abu")), "rootfs.blocks").data
	h := func(b []byte) string { d := digest(b); return hex.EncodeToString(d[:8]) }
	img := vectorImage()
	want := hex.EncodeToString([]byte("ABBLOCK1")) + "0042000000000000" +
		h(img[:4096]) + h(img[4096:8192]) + "0000000000000000" + "0200000000000000" +
		h(append(bytes.Repeat([]byte{0xCD}, 512), make([]byte, 4096-512)...))
	if hex.EncodeToString(got) != want {
		t.Errorf("got %x; want %s", got, want)
	}
}

// The page that others implement the format from shows these vectors.
func TestVectorsAreInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/bundle-format.md")
	must(t, err)
	u, err := Inspect(NewStream(bytes.NewReader(vector(t, "tiny.abu"))))
	must(t, err)
	shown := []string{string(u.Manifest.Marshal()), digest(u.PAE).String(), digest(vectorImage()).String()}
	for _, name := range []string{"K1.json", "K2.json", "tiny.abu"} {
		shown = append(shown, digest(vector(t, name)).String())
	}
	for n := byte(1); n <= 3; n++ {
		shown = append(shown, vectorKey(t, n).Public().ID)
	}
	for _, text := range shown {
		if !bytes.Contains(page, []byte(text)) {
			t.Errorf("docs/bundle-format.md does not show %s", text)
		}
	}
}
