package bundle

import (
	"bytes"
	"fmt"
)

// keyrings.json is the rotation chain: a canonical JSON array of envelopes,
// the keyrings 2, 3, … n in order. A device that knows keyring t ≤ n walks
// from t to n, so it may have missed any number of rotations; a device that
// knows a later keyring than n keeps its own.

// maxChain bounds the number of signatures that a device checks before it
// knows that a bundle is for it.
const maxChain = 64

// link is one step of the chain.
type link struct {
	envelope *envelope
	keyring  *Keyring
}

// parseChain parses keyrings.json without checking a signature.
func parseChain(b []byte) ([]link, error) {
	if len(b) > MaxKeyrings {
		return nil, formatErrorf("reading %s: %d bytes; at most %d", KeyringsName, len(b), MaxKeyrings)
	}
	tree, err := parseCanonical(b)
	if err != nil {
		return nil, formatErrorf("reading %s: %w", KeyringsName, err)
	}
	list, ok := tree.([]any)
	if !ok || len(list) > maxChain {
		return nil, formatErrorf("reading %s: must be an array of at most %d envelopes", KeyringsName, maxChain)
	}
	var chain []link
	for i, v := range list {
		version := uint64(i + 2)
		e, err := envelopeOf(v, KeyringType)
		if err != nil {
			return nil, formatErrorf("reading %s: keyring %d: %w", KeyringsName, version, err)
		}
		k, err := ParseKeyring(e.Payload)
		if err != nil {
			return nil, fmt.Errorf("reading %s: entry %d: %w", KeyringsName, i, err)
		}
		if k.Version != version {
			return nil, formatErrorf("reading %s: entry %d is keyring version %d; must be %d: the chain starts at 2 and leaves none out", KeyringsName, i, k.Version, version)
		}
		chain = append(chain, link{e, k})
	}
	return chain, nil
}

func marshalChain(chain []link) []byte {
	list := []any{}
	for _, l := range chain {
		list = append(list, l.envelope.tree())
	}
	return appendCanonical(nil, list)
}

// VerifyKeyrings verifies the bytes of keyrings.json against a keyring that
// the device trusts and returns the newest keyring of the two: the one that
// the manifest must be signed under.
//
// Every step must be signed by the threshold of its predecessor and by its
// own, so that neither a thief of old keys nor a typing error in the new
// ones can take or lose the fleet. Steps before the trusted one give no
// trust; they are checked against each other all the same, so that no bit of
// the file is free.
func VerifyKeyrings(b []byte, trusted *Keyring) (*Keyring, error) {
	chain, err := parseChain(b)
	if err != nil {
		return nil, err
	}
	newest := trusted
	var before *Keyring // predecessor, where it is known
	if trusted.Version == 1 {
		before = trusted
	}
	for _, l := range chain {
		if err := l.verify(before); err != nil {
			return nil, fmt.Errorf("reading %s: keyring version %d: %w", KeyringsName, l.keyring.Version, err)
		}
		if l.keyring.Version == trusted.Version && !bytes.Equal(l.keyring.Marshal(), trusted.Marshal()) {
			return nil, signatureErrorf("reading %s: keyring version %d is not the one that this device trusts under that version", KeyringsName, trusted.Version)
		}
		if l.keyring.Version > trusted.Version {
			newest = l.keyring
		}
		before = l.keyring
	}
	return newest, nil
}

// verify checks one step; before is nil when the predecessor is not known.
func (l link) verify(before *Keyring) error {
	if before != nil {
		if err := l.keyring.follows(before); err != nil {
			return signatureErrorf("%w", err)
		}
		if err := l.envelope.verify(before); err != nil {
			return fmt.Errorf("by its predecessor's keys: %w", err)
		}
	}
	if err := l.envelope.verify(l.keyring); err != nil {
		return fmt.Errorf("by its own keys: %w", err)
	}
	return nil
}

// VerifyManifest verifies the bytes of manifest.dsse.json against a keyring
// and returns the manifest.
func VerifyManifest(b []byte, k *Keyring) (*Manifest, error) {
	m, _, err := verifyManifest(b, k)
	return m, err
}

// verifyManifest also returns the SHA-256 of the signed text.
func verifyManifest(b []byte, k *Keyring) (*Manifest, Digest, error) {
	e, err := parseEnvelope(b, ManifestType, MaxManifest)
	if err != nil {
		return nil, Digest{}, formatErrorf("reading %s: %w", ManifestName, err)
	}
	if err := e.verify(k); err != nil {
		return nil, Digest{}, fmt.Errorf("reading %s: %w", ManifestName, err)
	}
	m, err := ParseManifest(e.Payload)
	if err != nil {
		return nil, Digest{}, fmt.Errorf("reading %s: %w", ManifestName, err)
	}
	return m, digest(e.Payload), nil
}
