package bundle

import (
	"fmt"
	"os"

	"github.com/abupdate/abupdate/internal/atomicfile"
)

// Unverified is what the head of a bundle says of itself. No signature has
// been checked: it is for people to look at, never for a decision.
type Unverified struct {
	Manifest *Manifest
	SignedBy []string   // key IDs that signatures claim
	Keyrings []*Keyring // the rotation chain, from version 2
	PAE      []byte     // the bytes to sign

	chain    []byte
	envelope *envelope
}

// Inspect reads the head of a bundle without verifying it.
func Inspect(s Stream) (*Unverified, error) {
	u, _, err := inspect(s)
	return u, err
}

// inspect also returns the tar, for the entries that follow the head.
func inspect(s Stream) (*Unverified, *tarReader, error) {
	t := &tarReader{s: s}
	u := &Unverified{}
	var err error
	if u.chain, err = t.small(KeyringsName, MaxKeyrings); err != nil {
		return nil, nil, err
	}
	chain, err := parseChain(u.chain)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range chain {
		u.Keyrings = append(u.Keyrings, l.keyring)
	}
	b, err := t.small(ManifestName, MaxManifest)
	if err != nil {
		return nil, nil, err
	}
	if u.envelope, err = parseEnvelope(b, ManifestType, MaxManifest); err != nil {
		return nil, nil, formatErrorf("reading %s: %w", ManifestName, err)
	}
	if u.Manifest, err = ParseManifest(u.envelope.Payload); err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", ManifestName, err)
	}
	for _, s := range u.envelope.Signatures {
		u.SignedBy = append(u.SignedBy, s.KeyID)
	}
	u.PAE = u.envelope.pae()
	return u, t, nil
}

// AttachSignature adds a signature that was made elsewhere over SigningBytes,
// after checking it, and replaces the bundle or the channel at path at once.
func AttachSignature(path string, key Key, sig []byte) error {
	if err := attachSignature(path, key, sig); err != nil {
		return fmt.Errorf("attaching a signature to %s: %w", path, err)
	}
	return nil
}

func attachSignature(path string, key Key, sig []byte) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if isChannel(in) {
		return attachToChannel(path, in, st.Mode().Perm(), key, sig)
	}
	u, t, err := inspect(NewStream(in))
	if err != nil {
		return err
	}
	if err := u.envelope.attach(key, sig); err != nil {
		return err
	}
	signed := u.envelope.marshal()
	if len(signed) > MaxManifest {
		return fmt.Errorf("%s would have %d bytes; at most %d", ManifestName, len(signed), MaxManifest)
	}
	if err := t.endEntry(); err != nil {
		return err
	}
	out, err := atomicfile.Create(path, st.Mode().Perm())
	if err != nil {
		return err
	}
	defer out.Abort()
	w := &tarWriter{w: out}
	for _, f := range []struct {
		name string
		data []byte
	}{{KeyringsName, u.chain}, {ManifestName, signed}} {
		if err := w.file(f.name, f.data); err != nil {
			return err
		}
	}
	if err := w.padding(); err != nil {
		return err
	}
	// The images follow as they are: no hash of them changes. ReadFrom of the
	// file itself lets the kernel copy, or share, the blocks.
	if _, err := out.File.ReadFrom(in); err != nil {
		return err
	}
	return out.Commit()
}
