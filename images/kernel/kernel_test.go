package kernel

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
)

func TestExtractTakesOnlyImageAndWantedModules(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range []string{
		"./boot/vmlinuz-6.1.0-1-cloud-amd64", "./boot/config-6.1.0-1-cloud-amd64",
		"./lib/modules/x/kernel/drivers/virtio/virtio.ko", "./lib/modules/x/kernel/drivers/virtio/virtio_ring.ko",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(name))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	dir := t.TempDir()
	if err := extractTar(&buf, dir, []string{"virtio"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("got %v, %v; want two files", entries, err)
	}
	k, err := find(dir)
	if err != nil || k.Release != "6.1.0-1-cloud-amd64" {
		t.Fatalf("find: %+v, %v", k, err)
	}
	got, err := os.ReadFile(k.Module("virtio"))
	if err != nil || string(got) != "./lib/modules/x/kernel/drivers/virtio/virtio.ko" {
		t.Fatalf("module: %q, %v", got, err)
	}
}

func TestCheckRefusesDamagedDownload(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(name, []byte("deb"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("deb"))
	if err := check(name, hex.EncodeToString(sum[:])); err != nil {
		t.Errorf("the right sum was refused: %v", err)
	}
	sum[0] ^= 1
	if err := check(name, hex.EncodeToString(sum[:])); err == nil {
		t.Error("a wrong sum was accepted")
	}
}

func TestFetchUnknownFlavor(t *testing.T) {
	if _, err := Fetch(t.Context(), t.TempDir(), 0, nil); err == nil {
		t.Error("the zero flavor was accepted")
	}
}
