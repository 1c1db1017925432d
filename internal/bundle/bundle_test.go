package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
)

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newKey makes an Ed25519 key.
func newKey(t testing.TB) *PrivateKey {
	t.Helper()
	k, err := GenerateKey(Ed25519)
	must(t, err)
	return k
}

// newRing makes a keyring, version 1, of these keys.
func newRing(t testing.TB, threshold int, keys ...*PrivateKey) *Keyring {
	t.Helper()
	k, err := NewKeyring(threshold)
	must(t, err)
	for _, key := range keys {
		must(t, k.Add(key.Public()))
	}
	return k
}

// testImage is like a small file system: text, noise and runs of zeros; its
// last frame is short.
func testImage(frameSize int64) []byte {
	rnd := rand.New(rand.NewSource(1))
	img := make([]byte, 5*frameSize+3*512)
	rnd.Read(img[:frameSize/2])                                     // noise, then zeros
	copy(img[frameSize:], bytes.Repeat([]byte("abupdate "), 1000))  // text
	rnd.Read(img[4*frameSize+100 : 4*frameSize+5000])               // frames 2 and 3 are zeros
	copy(img[5*frameSize:], "the last frame, which is a short one") // 1536 bytes
	return img
}

type fixture struct {
	options CreateOptions
	ring    *Keyring
	key     *PrivateKey
	images  map[string][]byte
	path    string
}

// newFixture creates a bundle with two images and one signature.
func newFixture(t testing.TB, change func(*CreateOptions)) *fixture {
	t.Helper()
	dir := t.TempDir()
	key := newKey(t)
	f := &fixture{
		key:    key,
		ring:   newRing(t, 1, key),
		images: map[string][]byte{"rootfs": testImage(MinFrameSize), "boot": bytes.Repeat([]byte("boot"), 1024)},
		path:   filepath.Join(dir, "test.abu"),
	}
	f.options = CreateOptions{
		Product: "gateway", Version: "1.2.3", Compatible: []string{"gateway-1", "gateway-2"},
		Epoch: 3, Keys: []*PrivateKey{key}, FrameSize: MinFrameSize,
	}
	for _, name := range []string{"rootfs", "boot"} {
		path := filepath.Join(dir, name+".img")
		must(t, os.WriteFile(path, f.images[name], 0o600))
		f.options.Images = append(f.options.Images, ImageSource{Name: name, Path: path, KernelArgs: "quiet"})
	}
	if change != nil {
		change(&f.options)
	}
	_, err := Create(context.Background(), f.path, f.options)
	must(t, err)
	return f
}

func (f *fixture) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(f.path)
	must(t, err)
	return b
}

// readAll reads a bundle as a device does, and returns its images.
func readAll(s Stream, trusted *Keyring) (map[string][]byte, error) {
	r, err := Open(s, trusted)
	if err != nil {
		return nil, err
	}
	return readImages(r)
}

func readImages(r *Reader) (map[string][]byte, error) {
	images := map[string][]byte{}
	for {
		ir, err := r.Next()
		if errors.Is(err, io.EOF) {
			return images, nil
		}
		if err != nil {
			return nil, err
		}
		if images[ir.Image().Name], err = readImage(ir); err != nil {
			return nil, err
		}
	}
}

func readImage(ir *ImageReader) ([]byte, error) {
	d, err := NewDecoder(int(ir.Image().FrameSize))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var img, buf, out []byte
	for {
		i, compressed, err := ir.ReadFrame(buf)
		if errors.Is(err, io.EOF) {
			return img, nil
		}
		if err != nil {
			return nil, err
		}
		if out, err = d.Decode(out, ir.Frames()[i], compressed); err != nil {
			return nil, err
		}
		img, buf = append(img, out...), compressed
	}
}

func TestCreateAndRead(t *testing.T) {
	f := newFixture(t, nil)
	images, err := readAll(NewStream(bytes.NewReader(f.bytes(t))), f.ring)
	must(t, err)
	for name, want := range f.images {
		if !bytes.Equal(images[name], want) {
			t.Errorf("image %s is not what was packed", name)
		}
	}
}

func TestSameInputSameBytes(t *testing.T) {
	var want []byte
	f := newFixture(t, nil)
	for _, workers := range []int{1, 2, 5} {
		f.options.Workers = workers
		_, err := Create(context.Background(), f.path, f.options)
		must(t, err)
		got := f.bytes(t)
		if want != nil && !bytes.Equal(got, want) {
			t.Fatalf("%d workers made another bundle", workers)
		}
		want = got
	}
}

func TestSkipFrames(t *testing.T) {
	f := newFixture(t, nil)
	r, err := Open(NewStream(bytes.NewReader(f.bytes(t))), f.ring)
	must(t, err)
	ir, err := r.Next()
	must(t, err)
	must(t, ir.SkipFrame())
	i, compressed, err := ir.ReadFrame(nil)
	must(t, err)
	d, err := NewDecoder(MinFrameSize)
	must(t, err)
	out, err := d.Decode(nil, ir.Frames()[i], compressed)
	must(t, err)
	if i != 1 || !bytes.Equal(out, f.images["rootfs"][MinFrameSize:2*MinFrameSize]) {
		t.Errorf("frame %d is not the second one", i)
	}
	// Next passes over the rest.
	ir, err = r.Next()
	must(t, err)
	if ir.Image().Name != "boot" {
		t.Errorf("second image %q", ir.Image().Name)
	}
	if err := ir.SkipFrame(); err != nil {
		t.Error(err)
	}
	if err := ir.SkipFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last image: %v", err)
	}
}
