package bundle

import (
	"bytes"
	"fmt"
)

// EmptyKeyrings is the keyrings.json of a product that has not rotated yet.
func EmptyKeyrings() []byte { return marshalChain(nil) }

// Rotation is a keyrings.json whose last step is being signed. Signers may
// work one after the other, on different machines: the file between them is
// an ordinary keyrings.json that no device accepts until it is complete.
type Rotation struct {
	chain    []link
	previous *Keyring
}

// StartRotation puts keyring next, the successor of previous, at the end of
// the chain keyrings, or takes up the signing of it when it is there already.
func StartRotation(keyrings []byte, previous, next *Keyring) (*Rotation, error) {
	chain, err := parseChain(keyrings)
	if err != nil {
		return nil, err
	}
	if err := next.follows(previous); err != nil {
		return nil, fmt.Errorf("rotating keys: %w", err)
	}
	if len(next.Keys) < next.Threshold {
		return nil, fmt.Errorf("rotating keys: keyring version %d has %d keys and a threshold of %d: nothing could be signed under it", next.Version, len(next.Keys), next.Threshold)
	}
	if err := inChain(chain, previous); err != nil {
		return nil, fmt.Errorf("rotating keys: %w", err)
	}
	r := &Rotation{chain: chain, previous: previous}
	switch last := uint64(len(chain) + 1); last {
	case next.Version:
		if err := inChain(chain, next); err != nil {
			return nil, fmt.Errorf("rotating keys: %w (to change it before it is complete, take it out of the file)", err)
		}
	case previous.Version:
		e := &envelope{PayloadType: KeyringType, Payload: next.Marshal()}
		r.chain = append(r.chain, link{e, next})
	default:
		return nil, fmt.Errorf("rotating keys: the chain ends at version %d; to add version %d it must end at version %d", last, next.Version, previous.Version)
	}
	return r, nil
}

// inChain checks that k is the keyring of its version in the chain; version 1
// is never in it.
func inChain(chain []link, k *Keyring) error {
	if k.Version < 2 || k.Version > uint64(len(chain)+1) {
		return nil
	}
	if !bytes.Equal(chain[k.Version-2].keyring.Marshal(), k.Marshal()) {
		return fmt.Errorf("the chain has another keyring under version %d", k.Version)
	}
	return nil
}

func (r *Rotation) last() link { return r.chain[len(r.chain)-1] }

// PAE returns the bytes to sign with a key that lives elsewhere.
func (r *Rotation) PAE() []byte { return r.last().envelope.pae() }

// Sign adds a signature by key.
func (r *Rotation) Sign(key *PrivateKey) error {
	if err := r.concerns(key.Public()); err != nil {
		return err
	}
	return r.last().envelope.sign(key)
}

// Attach adds a signature that was made elsewhere over PAE.
func (r *Rotation) Attach(key Key, sig []byte) error {
	if err := r.concerns(key); err != nil {
		return err
	}
	return r.last().envelope.attach(key, sig)
}

// concerns refuses keys whose signature would count for neither keyring:
// most likely the wrong file was given.
func (r *Rotation) concerns(key Key) error {
	_, old := r.previous.find(key.ID)
	_, current := r.last().keyring.find(key.ID)
	if !old && !current {
		return fmt.Errorf("key %s is in neither keyring version %d nor version %d", key.ID, r.previous.Version, r.last().keyring.Version)
	}
	return nil
}

// Missing says how many signatures the step still needs from the keys of the
// previous keyring and from its own; 0, 0 means that it is complete.
func (r *Rotation) Missing() (previous, own int, err error) {
	l := r.last()
	for _, s := range []struct {
		k *Keyring
		n *int
	}{{r.previous, &previous}, {l.keyring, &own}} {
		*s.n = s.k.Threshold
		for _, sig := range l.envelope.Signatures {
			if _, ok := s.k.find(sig.KeyID); ok && *s.n > 0 {
				*s.n--
			}
		}
	}
	if previous == 0 && own == 0 {
		err = l.verify(r.previous)
	}
	return previous, own, err
}

// Marshal returns the keyrings.json.
func (r *Rotation) Marshal() []byte { return marshalChain(r.chain) }

// checkChain is what a packer can check of a chain without the first
// keyring: that each step is complete.
func checkChain(keyrings []byte) ([]link, error) {
	chain, err := parseChain(keyrings)
	if err != nil {
		return nil, err
	}
	var before *Keyring
	for _, l := range chain {
		if err := l.verify(before); err != nil {
			err = fmt.Errorf("%s: the step to keyring version %d: %w", KeyringsName, l.keyring.Version, err)
			return nil, &advised{err, "complete it with abupdate keyring sign"}
		}
		before = l.keyring
	}
	return chain, nil
}
