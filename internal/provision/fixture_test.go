package provision

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/bootctl"
	"github.com/abupdate/abupdate/internal/bundle"
)

// tool returns the path of a program of an independent judge.
func tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	t.Fatalf("%s is missing: apt-get install %s", name, debianPackage)
	return ""
}

func judge(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &stderr)
	}
	return out.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeBoot looks like GRUB to everything but a processor.
func fakeBoot() *BootImage {
	boot := bytes.Repeat([]byte{0xB0}, sector)
	boot[bootSignatureAt], boot[bootSignatureAt+1] = 0x55, 0xAA
	core := bytes.Repeat([]byte{0xC0}, 5*sector+7)
	clear(core[coreListStart:sector])
	le.PutUint16(core[coreListSegment:], coreSegment)
	return &BootImage{
		GrubVersion: "2.06-fake", Commands: bootctl.CommandsLinux,
		BIOS: &BIOSLoader{Boot: boot, Core: core}, EFI: append([]byte("MZ"), core...),
	}
}

// vendor makes bundles.
type vendor struct {
	dir   string
	key   *bundle.PrivateKey
	ring  *bundle.Keyring
	image []byte
}

func newVendor(t testing.TB) *vendor {
	t.Helper()
	key, err := bundle.GenerateKey(bundle.Ed25519)
	must(t, err)
	ring, err := bundle.NewKeyring(1)
	must(t, err)
	must(t, ring.Add(key.Public()))
	v := &vendor{dir: t.TempDir(), key: key, ring: ring, image: make([]byte, 5<<20+512)}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range v.image[:3<<20] {
		v.image[i] = byte(rng.Uint32())
	}
	return v
}

// bundle makes a bundle of v.image, with or without a boot image.
func (v *vendor) bundle(t testing.TB, boot *BootImage) string {
	t.Helper()
	rootfs, path := filepath.Join(v.dir, "rootfs.img"), filepath.Join(v.dir, "b.abu")
	must(t, os.WriteFile(rootfs, v.image, 0o600))
	images := []bundle.ImageSource{{Name: rootImage, Path: rootfs, KernelArgs: "quiet"}}
	if boot != nil {
		data, err := boot.Encode()
		must(t, err)
		file := filepath.Join(v.dir, "boot.tar")
		must(t, os.WriteFile(file, data, 0o600))
		images = append(images, bundle.ImageSource{Name: bootImage, Path: file})
	}
	_, err := bundle.Create(context.Background(), path, bundle.CreateOptions{
		Product: "gateway", Version: "1.2.3", Compatible: []string{"gw-1", "gw-2"}, Epoch: 7,
		Images: images, Keys: []*bundle.PrivateKey{v.key}, FrameSize: 1 << 20,
	})
	must(t, err)
	return path
}

// options are those of a small disk made from the bundle at path.
func (v *vendor) options(t testing.TB, path string, fw Firmware) Options {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return Options{
		Bundle: bundle.NewStream(f), Keyring: v.ring, Compatible: "gw-2", Firmware: fw,
		Size: 400 << 20, SlotSize: 16 << 20, KernelArgs: DefaultKernelArgs, InstalledAt: 12345,
		Random: rand.NewChaCha8([32]byte{1}),
		Grub: func(context.Context) (*BootImage, error) {
			t.Error("the host's GRUB was asked for although the bundle brings one")
			return fakeBoot(), nil
		},
	}
}
