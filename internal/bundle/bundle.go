// Package bundle reads and writes update bundles (format 1): a tar that holds
// a keyring chain, a signed manifest and, for each image, indexes and
// independently compressed frames. docs/bundle-format.md has the byte tables.
//
// Invariant: nothing of a bundle has a meaning before it is covered by a
// verified signature. Open returns only after the keyring chain and the
// manifest's signatures hold; ImageReader hands out indexes only after their
// hashes match the manifest; Decoder hands out image bytes only after both
// hashes of the frame match the index.
//
// The package never touches a disk. Start with Open to read a bundle front to
// back, and with Create to build one.
package bundle

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/minio/sha256-simd"
)

// What can be wrong with a bundle. Callers tell them apart with errors.Is;
// the command maps them to exit codes 10, 11 and 12.
var (
	// ErrFormat: the bytes are no bundle, or not all of one.
	ErrFormat = errors.New("bundle unreadable")
	// ErrSignature: a signature or a hash does not hold.
	ErrSignature = errors.New("bundle not trusted")
	// ErrIncompatible: sound, but it asks for something this program lacks.
	ErrIncompatible = errors.New("bundle incompatible")
)

// Names of the entries, in their order in the tar. Each image adds NAME.frames,
// NAME.blocks and NAME.zst.
const (
	KeyringsName = "keyrings.json"
	ManifestName = "manifest.dsse.json"

	framesSuffix = ".frames"
	blocksSuffix = ".blocks"
	zstSuffix    = ".zst"
)

// Limits of format 1. They bound what a reader allocates before a signature
// has been checked, and what a device must be able to store.
const (
	MaxKeyrings = 256 << 10 // bytes of keyrings.json
	MaxManifest = 1 << 20   // bytes of manifest.dsse.json

	BlockSize = 4096 // unit of the block index

	MinFrameSize     = 16 << 10
	MaxFrameSize     = 16 << 20
	DefaultFrameSize = 4 << 20

	maxImages     = 8
	maxKernelArgs = 1024
	maxImageSize  = 1 << 40
	maxFrames     = 1 << 18 // so an index stays below 18 MiB
)

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// parseDigest accepts the one spelling that String produces: 64 lower-case
// hexadecimal digits.
func parseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("%q is no SHA-256 (64 hexadecimal digits)", clip(s))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil || d.String() != s {
		return d, fmt.Errorf("%q is no SHA-256 in lower-case hexadecimal", s)
	}
	return d, nil
}

// digest hashes b. It goes through New because sha256-simd's Sum256 copies
// its state for nothing and is slower.
func digest(b []byte) Digest {
	h := sha256.New()
	h.Write(b)
	var d Digest
	h.Sum(d[:0])
	return d
}
