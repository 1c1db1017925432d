package bundle_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/bundle"
)

// A vendor makes a key and a bundle; a device that knows the keyring reads it.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	image, path := filepath.Join(dir, "rootfs.img"), filepath.Join(dir, "gateway.abu")
	if err := os.WriteFile(image, make([]byte, 5<<20), 0o600); err != nil {
		log.Fatal(err)
	}

	// The vendor, once: a key, and the keyring that goes into every device.
	key, err := bundle.GenerateKey(bundle.Ed25519)
	if err != nil {
		log.Fatal(err)
	}
	keyring, err := bundle.NewKeyring(1)
	if err != nil {
		log.Fatal(err)
	}
	if err := keyring.Add(key.Public()); err != nil {
		log.Fatal(err)
	}

	// The vendor, for each release.
	_, err = bundle.Create(context.Background(), path, bundle.CreateOptions{
		Product: "gateway", Version: "2.0.0", Compatible: []string{"gateway-1"},
		Images: []bundle.ImageSource{{Name: "rootfs", Path: image}},
		Keys:   []*bundle.PrivateKey{key},
	})
	if err != nil {
		log.Fatal(err)
	}

	// The device.
	f, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err := install(f, keyring); err != nil {
		log.Fatal(err)
	}
	// Output:
	// gateway 2.0.0
	// rootfs: 4194304 bytes at 0, all zero: true
	// rootfs: 1048576 bytes at 4194304, all zero: true
}

// install shows the order in which a bundle is read. Nothing is believed
// before it is verified: Open verifies the manifest, Next the indexes by the
// manifest, Decode each frame by its index. What it returns may be written
// at once, although the rest of the bundle has not been seen.
func install(f io.Reader, keyring *bundle.Keyring) error {
	r, err := bundle.Open(bundle.NewStream(f), keyring)
	if err != nil {
		return err
	}
	fmt.Println(r.Manifest().Product, r.Manifest().Version)
	for {
		image, err := r.Next()
		if err == io.EOF {
			return nil // and nothing follows the last image
		}
		if err != nil {
			return err
		}
		if err := installImage(image); err != nil {
			return err
		}
	}
}

func installImage(image *bundle.ImageReader) error {
	d, err := bundle.NewDecoder(int(image.Image().FrameSize))
	if err != nil {
		return err
	}
	defer d.Close()
	var compressed, data []byte
	for {
		var i int
		i, compressed, err = image.ReadFrame(compressed)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		frame := image.Frames()[i]
		if data, err = d.Decode(data, frame, compressed); err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes at %d, all zero: %v\n", image.Image().Name, len(data), frame.Off, frame.Zero)
	}
}
