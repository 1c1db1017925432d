package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/extfiles"
)

var smallFiles = []string{"one", "two", "three", "four", "five", "six"}

// filesImage is a small ext4 with a large file, small ones and free space;
// files replaces some of them.
func filesImage(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	must(t, os.Mkdir(tree, 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "large"), bytes.Repeat([]byte("large file\n"), 50000), 0o644))
	for _, name := range smallFiles {
		must(t, os.WriteFile(filepath.Join(tree, name), bytes.Repeat([]byte(name), 4000), 0o644))
	}
	for name, data := range files {
		must(t, os.WriteFile(filepath.Join(tree, name), data, 0o644))
	}
	// All but one came together.
	for _, name := range append([]string{".", "large"}, smallFiles...) {
		modified := time.Unix(1_700_000_000, 0)
		if name == "two" {
			modified = modified.Add(time.Second)
		}
		must(t, os.Chtimes(filepath.Join(tree, name), modified, modified))
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	image := filepath.Join(dir, "image")
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, image, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs (Debian package e2fsprogs): %v: %s", err, out)
	}
	b, err := os.ReadFile(image)
	must(t, err)
	return b
}

// packFiles makes a signed bundle with --layout files.
func packFiles(t *testing.T, image []byte, key *PrivateKey, previous string) (path string, m *Manifest) {
	t.Helper()
	dir := t.TempDir()
	raw := filepath.Join(dir, "rootfs.img")
	must(t, os.WriteFile(raw, image, 0o600))
	path = filepath.Join(dir, "b.abu")
	m, err := Create(context.Background(), path, CreateOptions{
		Product: "gw", Version: "1.0.0", Compatible: []string{"gw"}, Layout: LayoutFiles, Previous: previous,
		Images: []ImageSource{{Name: "rootfs", Path: raw}}, Keys: []*PrivateKey{key},
	})
	must(t, err)
	return path, m
}

// TestLayoutFiles: a large file has frames of its own, small ones that came
// together share one, and the frames are the image.
func TestLayoutFiles(t *testing.T) {
	image, key := filesImage(t, nil), vectorKey(t, 1)
	path, m := packFiles(t, image, key, "")
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	r, err := Open(NewStream(f), newRing(t, 1, key))
	must(t, err)
	ir, err := r.Next()
	must(t, err)
	extents, err := extfiles.Read(bytes.NewReader(image), int64(len(image)))
	must(t, err)
	begins := map[int64]bool{}
	for _, f := range ir.Frames() {
		begins[f.Off] = true
	}
	alone := 0
	for _, e := range extents {
		name := strings.TrimPrefix(e.Path, "/")
		if (name == "large" || name == "two") && !begins[e.Off] {
			t.Errorf("no frame begins with /%s at byte %d", name, e.Off)
		}
		if slices.Contains(smallFiles, name) && begins[e.Off] {
			alone++
		}
	}
	// "large" and "two" part the others into three heaps at the most.
	if alone > 4 {
		t.Errorf("%d of %d small files begin a frame", alone, len(smallFiles))
	}
	if m.Images[0].VariedFrames != int64(len(ir.Frames())) || !strings.Contains(string(m.Marshal()), `"critical":["images.variedFrames"]`) {
		t.Errorf("manifest: %s", m.Marshal())
	}
	dec, err := NewDecoder(int(ir.Image().FrameSize))
	must(t, err)
	defer dec.Close()
	var got []byte
	for {
		i, compressed, err := ir.ReadFrame(nil)
		if err == io.EOF {
			break
		}
		must(t, err)
		plain, err := dec.Decode(nil, ir.Frames()[i], compressed)
		must(t, err)
		got = append(got, plain...)
	}
	if !bytes.Equal(got, image) {
		t.Error("the frames are not the image")
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last image: %v", err)
	}
}

// TestVariedRefused: what an index of varied frames must not say.
func TestVariedRefused(t *testing.T) {
	good := func() *FrameIndex {
		return &FrameIndex{ImageSize: 6 * BlockSize, FrameSize: MinFrameSize, Varied: true, Frames: []Frame{
			{Len: 2 * BlockSize, CompressedLen: 9}, {Len: BlockSize, CompressedLen: 9}, {Len: 3 * BlockSize, CompressedLen: 9},
		}}
	}
	if x, err := ParseFrames(good().Marshal()); err != nil || x.Frames[2].Off != 3*BlockSize {
		t.Fatalf("%+v, %v", x, err)
	}
	for name, spoil := range map[string]func(*FrameIndex){
		"too long":       func(x *FrameIndex) { x.Frames[0].Len = MinFrameSize + BlockSize },
		"empty":          func(x *FrameIndex) { x.Frames[0].Len = 0 },
		"beyond the end": func(x *FrameIndex) { x.Frames[2].Len = 4 * BlockSize },
		"short":          func(x *FrameIndex) { x.Frames[2].Len = 2 * BlockSize },
		"part of block":  func(x *FrameIndex) { x.Frames[0].Len = BlockSize + 512 },
		"too many": func(x *FrameIndex) {
			for range 4 {
				x.Frames = append(x.Frames, Frame{Len: BlockSize, CompressedLen: 9})
			}
		},
	} {
		x := good()
		spoil(x)
		if _, err := ParseFrames(x.Marshal()); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
