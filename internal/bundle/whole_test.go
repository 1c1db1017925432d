package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestVerifyAndExtract(t *testing.T) {
	f := newFixture(t, nil)
	var done, total int64
	m, err := Verify(context.Background(), NewStream(bytes.NewReader(f.bytes(t))), f.ring, func(d, n int64) { done, total = d, n })
	must(t, err)
	if want := int64(len(f.images["rootfs"]) + len(f.images["boot"])); m.Version != "1.2.3" || done != want || total != want {
		t.Errorf("%s: %d of %d; want %d", m.Version, done, total, want)
	}
	dir := filepath.Join(t.TempDir(), "new")
	_, err = Extract(context.Background(), NewStream(bytes.NewReader(f.bytes(t))), f.ring, dir, nil)
	must(t, err)
	for name, want := range map[string][]byte{
		"rootfs.img": f.images["rootfs"], "boot.img": f.images["boot"], "manifest.json": m.Marshal(),
		KeyringsName: []byte("[]"), ManifestName: find(t, entries(t, f.bytes(t)), ManifestName).data,
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is another one: %v", name, err)
		}
	}
}

// A bad frame leaves no image behind, whole or half.
func TestExtractLeavesNothingOfABadImage(t *testing.T) {
	f := newFixture(t, nil)
	list := entries(t, f.bytes(t))
	data := find(t, list, "rootfs.zst").data
	data[len(data)-1] ^= 1
	dir := t.TempDir()
	_, err := Extract(context.Background(), NewStream(bytes.NewReader(assemble(t, list))), f.ring, dir, nil)
	if !errors.Is(err, ErrSignature) {
		t.Errorf("got %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("left %v, %v", names, err)
	}
}

// Verify finds what a device cannot: a signer who lies about the image or
// its block index.
func TestVerifyFindsALyingManifest(t *testing.T) {
	f := newFixture(t, nil)
	good := entries(t, f.bytes(t))
	m, err := ParseManifest(mustPayload(t, good))
	must(t, err)
	lie := func(change func(img *Image, list []entry)) {
		t.Helper()
		list, forged := entries(t, f.bytes(t)), *m
		forged.Images = append([]Image{}, m.Images...)
		change(&forged.Images[0], list)
		find(t, list, ManifestName).data = signed(t, forged.Marshal(), f.key)
		_, err := Verify(context.Background(), NewStream(bytes.NewReader(assemble(t, list))), f.ring, nil)
		if !errors.Is(err, ErrSignature) {
			t.Errorf("got %v", err)
		}
	}
	lie(func(img *Image, _ []entry) { img.SHA256[0] ^= 1 })
	lie(func(img *Image, list []entry) {
		blocks := find(t, list, "rootfs.blocks")
		blocks.data[len(blocks.data)-1] ^= 1
		img.BlocksSHA256 = digest(blocks.data)
	})
}

func TestCreateStops(t *testing.T) {
	f := newFixture(t, nil)
	before := f.bytes(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.options.Progress = func(int64, int64) { cancel() }
	if _, err := Create(ctx, f.path, f.options); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(f.bytes(t), before) {
		t.Error("the bundle that was there has changed")
	}
	onlyBundleLeft(t, f)
}

func TestCreateRefuses(t *testing.T) {
	f := newFixture(t, nil)
	for name, change := range map[string]func(o *CreateOptions){
		"no version":           func(o *CreateOptions) { o.Version = "" },
		"version 1.2":          func(o *CreateOptions) { o.Version = "1.2" },
		"version v1.2.3":       func(o *CreateOptions) { o.Version = "v1.2.3" },
		"version 01.2.3":       func(o *CreateOptions) { o.Version = "01.2.3" },
		"product with a space": func(o *CreateOptions) { o.Product = "my gateway" },
		"no compatible":        func(o *CreateOptions) { o.Compatible = nil },
		"compatible twice":     func(o *CreateOptions) { o.Compatible = []string{"a", "a"} },
		"epoch":                func(o *CreateOptions) { o.Epoch = 1 << 53 },
		"minimum agent":        func(o *CreateOptions) { o.MinimumAgent = "new" },
		"CPU level":            func(o *CreateOptions) { o.CPULevel = 5 },
		"frame size":           func(o *CreateOptions) { o.FrameSize = 100000 },
		"level":                func(o *CreateOptions) { o.Level = 23 },
		"no image":             func(o *CreateOptions) { o.Images = nil },
		"image twice":          func(o *CreateOptions) { o.Images[1].Name = "rootfs" },
		"image name":           func(o *CreateOptions) { o.Images[0].Name = "../rootfs" },
		"kernel arguments":     func(o *CreateOptions) { o.Images[0].KernelArgs = "quiet\nroot=/dev/sda" },
		"missing file":         func(o *CreateOptions) { o.Images[0].Path = "/nonexistent" },
		"keyrings":             func(o *CreateOptions) { o.Keyrings = []byte("[ ]") },
		"incomplete rotation":  func(o *CreateOptions) { o.Keyrings = unfinished(t) },
	} {
		o := f.options
		o.Images = append([]ImageSource{}, o.Images...)
		change(&o)
		path := filepath.Join(t.TempDir(), "x.abu")
		if _, err := Create(context.Background(), path, o); err == nil {
			t.Errorf("%s: created", name)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: left a bundle", name)
		}
	}
	must(t, os.WriteFile(f.options.Images[0].Path, make([]byte, 1000), 0o600))
	if _, err := Create(context.Background(), f.path, f.options); err == nil {
		t.Error("an image of 1000 bytes: created")
	}
}

func unfinished(t *testing.T) []byte {
	t.Helper()
	a, b := newKey(t), newKey(t)
	one := newRing(t, 1, a)
	two := one.Successor()
	must(t, two.Add(b.Public()))
	two.Threshold = 2
	return rotate(t, EmptyKeyrings(), one, two, a)
}
