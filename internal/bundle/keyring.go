package bundle

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// KeyringType is the payload type that a keyring is signed under.
const KeyringType = "application/vnd.abupdate.keyring+json"

const (
	maxKeys    = 32
	maxRevoked = 1024
)

// Keyring says whose signatures a device trusts, and how many it wants. A
// device starts from one that it was given at the factory; later ones reach
// it in bundles, each signed by its predecessor (see VerifyKeyrings). No
// clock takes part: only versions and epochs order things.
type Keyring struct {
	Version   uint64   // 1 for the trust anchor, then one more for each rotation
	Threshold int      // how many distinct keys must sign
	MinEpoch  uint64   // bundles of a lower epoch are refused
	Keys      []Key    // sorted by ID
	Revoked   []string // IDs of keys that never count again, sorted
}

// ParseKeyring parses a keyring, which is canonical JSON. A keyring is all
// trust, so every field is critical: an unknown one refuses.
func ParseKeyring(b []byte) (*Keyring, error) {
	if len(b) > MaxKeyrings {
		return nil, formatErrorf("reading a keyring: %d bytes; at most %d", len(b), MaxKeyrings)
	}
	tree, err := parseCanonical(b)
	if err != nil {
		return nil, formatErrorf("reading a keyring: %w", err)
	}
	o := newObject("keyring", tree)
	if f := o.integer("format", maxInteger); o.err == nil && f != FormatVersion {
		return nil, incompatibleErrorf("the keyring has format %d; this program reads format %d", f, FormatVersion)
	}
	k := &Keyring{
		Version:   o.integer("version", maxInteger),
		Threshold: int(o.integer("threshold", maxKeys)),
		MinEpoch:  o.integer("minEpoch", maxInteger),
		Revoked:   o.texts("revoked", maxRevoked),
	}
	for i, v := range o.array("keys", maxKeys) {
		key, err := parseKeyEntry(newObject(fmt.Sprintf("keyring: keys[%d]", i), v))
		if err != nil {
			return nil, formatErrorf("reading the %w", err)
		}
		k.Keys = append(k.Keys, key)
	}
	if err := o.closed(); err != nil {
		return nil, formatErrorf("reading the %w", err)
	}
	if err := k.check(); err != nil {
		return nil, formatErrorf("reading keyring version %d: %w", k.Version, err)
	}
	return k, nil
}

func parseKeyEntry(o *object) (Key, error) {
	id, alg, text := o.text("id"), o.text("algorithm"), o.text("public")
	if err := o.closed(); err != nil {
		return Key{}, err
	}
	spki, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Key{}, fmt.Errorf("%s: field \"public\": %w", o.where, err)
	}
	key, err := ParseKey(spki)
	switch {
	case err != nil:
		return Key{}, fmt.Errorf("%s: %w", o.where, err)
	case key.ID != id:
		// The identity is computed, never believed: else one key under two
		// names would count twice.
		return Key{}, fmt.Errorf("%s: id %q is not the SHA-256 of its public key, %s", o.where, clip(id), key.ID)
	case key.Algorithm.String() != alg:
		return Key{}, fmt.Errorf("%s: algorithm %q; the key is for %s", o.where, clip(alg), key.Algorithm)
	}
	return key, nil
}

// check holds for every keyring that is read or written. It allows too few
// keys for the threshold: a keyring is made in steps, and verifying with such
// a one fails by itself.
func (k *Keyring) check() error {
	if k.Version < 1 || k.Version > maxInteger {
		return errors.New("version must be 1 or more")
	}
	if k.Threshold < 1 || k.Threshold > maxKeys {
		return fmt.Errorf("threshold must be from 1 to %d", maxKeys)
	}
	if len(k.Keys) > maxKeys || len(k.Revoked) > maxRevoked {
		return fmt.Errorf("more than %d keys or %d revoked keys", maxKeys, maxRevoked)
	}
	for i, key := range k.Keys {
		if i > 0 && k.Keys[i-1].ID >= key.ID {
			return errors.New("keys must be sorted by id and unique")
		}
		if k.revoked(key.ID) {
			return fmt.Errorf("key %s is both trusted and revoked", key.ID)
		}
	}
	for i, id := range k.Revoked {
		if _, err := parseDigest(id); err != nil {
			return fmt.Errorf("revoked: %w", err)
		}
		if i > 0 && k.Revoked[i-1] >= id {
			return errors.New("revoked keys must be sorted and unique")
		}
	}
	return nil
}

// Marshal returns the canonical JSON of k.
func (k *Keyring) Marshal() []byte {
	keys := []any{}
	for _, key := range k.Keys {
		keys = append(keys, map[string]any{
			"id":        key.ID,
			"algorithm": key.Algorithm.String(),
			"public":    base64.StdEncoding.EncodeToString(key.SPKI),
		})
	}
	return appendCanonical(nil, map[string]any{
		"format":    uint64(FormatVersion),
		"version":   k.Version,
		"threshold": uint64(k.Threshold),
		"minEpoch":  k.MinEpoch,
		"keys":      keys,
		"revoked":   toAny(k.Revoked),
	})
}

func (k *Keyring) find(id string) (Key, bool) {
	i, ok := slices.BinarySearchFunc(k.Keys, id, func(key Key, id string) int {
		if key.ID < id {
			return -1
		} else if key.ID > id {
			return 1
		}
		return 0
	})
	if !ok {
		return Key{}, false
	}
	return k.Keys[i], true
}

func (k *Keyring) revoked(id string) bool { return slices.Contains(k.Revoked, id) }
