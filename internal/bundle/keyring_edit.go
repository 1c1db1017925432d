package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// NewKeyring returns an empty keyring, version 1: the start of a trust anchor.
func NewKeyring(threshold int) (*Keyring, error) {
	k := &Keyring{Version: 1, Threshold: threshold}
	return k, k.check()
}

// Successor returns the keyring that follows k in the chain, equal to k but
// for its version: the start of a rotation.
func (k *Keyring) Successor() *Keyring {
	return &Keyring{
		Version:   k.Version + 1,
		Threshold: k.Threshold,
		MinEpoch:  k.MinEpoch,
		Keys:      slices.Clone(k.Keys),
		Revoked:   slices.Clone(k.Revoked),
	}
}

// Add trusts a key.
func (k *Keyring) Add(key Key) error {
	if k.revoked(key.ID) {
		return fmt.Errorf("key %s is revoked: that is for good", key.ID)
	}
	if _, ok := k.find(key.ID); ok {
		return fmt.Errorf("key %s is in the keyring already", key.ID)
	}
	if len(k.Keys) == maxKeys {
		return fmt.Errorf("the keyring holds %d keys already, the most it can", maxKeys)
	}
	k.Keys = append(k.Keys, key)
	slices.SortFunc(k.Keys, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

// Revoke stops trusting a key, for good: it is taken out of Keys, and its ID
// is kept so that no later keyring can bring it back.
func (k *Keyring) Revoke(id string) error {
	if _, err := parseDigest(id); err != nil {
		return fmt.Errorf("revoking a key: %w", err)
	}
	if k.revoked(id) {
		return fmt.Errorf("key %s is revoked already", id)
	}
	if len(k.Revoked) == maxRevoked {
		return fmt.Errorf("the keyring holds %d revoked keys already, the most it can", maxRevoked)
	}
	k.Keys = slices.DeleteFunc(k.Keys, func(key Key) bool { return key.ID == id })
	k.Revoked = append(k.Revoked, id)
	slices.Sort(k.Revoked)
	return nil
}

// follows says whether k may come after old in the chain.
func (k *Keyring) follows(old *Keyring) error {
	if k.Version != old.Version+1 {
		return fmt.Errorf("keyring version %d cannot follow version %d", k.Version, old.Version)
	}
	if k.MinEpoch < old.MinEpoch {
		return fmt.Errorf("keyring version %d lowers the minimum epoch from %d to %d", k.Version, old.MinEpoch, k.MinEpoch)
	}
	for _, id := range old.Revoked {
		if !k.revoked(id) {
			return fmt.Errorf("keyring version %d no longer revokes key %s", k.Version, id)
		}
	}
	return nil
}
