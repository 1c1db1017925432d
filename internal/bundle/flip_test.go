package bundle

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
)

// TestAttack_EveryBit flips every single bit of a bundle: framing, keyrings,
// manifest, indexes and frames. No flip may go unnoticed. (The one place
// where bits are free in other bundles is a signature by a key that the
// device does not know, which has no meaning to it; this bundle has none.)
func TestAttack_EveryBit(t *testing.T) {
	good, ring := vector(t, "tiny.abu"), vectorRing(t, "K1.json")
	// In three parts, each read on from the end of the one before: that saves
	// checking the same signatures for every bit of the rest.
	in := bytes.NewReader(good)
	tar := tarReader{s: NewStream(in)}
	chain, err := tar.small(KeyringsName, MaxKeyrings)
	must(t, err)
	newest, err := VerifyKeyrings(chain, ring)
	must(t, err)
	atManifest, padded := len(good)-in.Len(), tar
	envelope, err := tar.small(ManifestName, MaxManifest)
	must(t, err)
	manifest, err := VerifyManifest(envelope, newest)
	must(t, err)
	atImages := len(good) - in.Len()

	flipEach(t, good[:atManifest], func(b []byte) error {
		_, err := readAll(NewStream(io.MultiReader(bytes.NewReader(b), bytes.NewReader(good[atManifest:]))), ring)
		return err
	})
	flipEach(t, good[atManifest:atImages], func(b []byte) error {
		tar := tarReader{s: NewStream(bytes.NewReader(b)), pad: padded.pad}
		envelope, err := tar.small(ManifestName, MaxManifest)
		if err == nil {
			_, err = VerifyManifest(envelope, newest)
		}
		return err
	})
	flipEach(t, good[atImages:], func(b []byte) error {
		r := &Reader{manifest: manifest, tar: tarReader{s: NewStream(bytes.NewReader(b)), pad: tar.pad}}
		_, err := readImages(r)
		return err
	})
}

func flipEach(t *testing.T, good []byte, read func([]byte) error) {
	t.Helper()
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			b := bytes.Clone(good)
			for bit := w; bit < 8*len(b); bit += workers {
				b[bit/8] ^= 1 << (bit % 8)
				err := read(b)
				if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrIncompatible) {
					t.Errorf("byte %d, bit %d: %v", bit/8, bit%8, err)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}
