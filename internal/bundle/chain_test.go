package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// rotate appends next to the chain, signed by these keys.
func rotate(t testing.TB, chain []byte, previous, next *Keyring, keys ...*PrivateKey) []byte {
	t.Helper()
	r, err := StartRotation(chain, previous, next)
	must(t, err)
	for _, k := range keys {
		must(t, r.Sign(k))
	}
	return r.Marshal()
}

// rotations is a product that has rotated its one key three times.
type rotations struct {
	keys  [4]*PrivateKey
	rings [4]*Keyring // versions 1 to 4
	chain []byte
}

func newRotations(t testing.TB) *rotations {
	t.Helper()
	r := &rotations{chain: EmptyKeyrings()}
	for i := range r.keys {
		r.keys[i] = newKey(t)
		if i == 0 {
			r.rings[0] = newRing(t, 1, r.keys[0])
			continue
		}
		next := r.rings[i-1].Successor()
		must(t, next.Add(r.keys[i].Public()))
		must(t, next.Revoke(r.keys[i-1].Public().ID))
		next.MinEpoch = uint64(i)
		r.chain = rotate(t, r.chain, r.rings[i-1], next, r.keys[i-1], r.keys[i])
		r.rings[i] = next
	}
	return r
}

// A device that was off during three rotations, and every other one, accepts
// a bundle by the newest key.
func TestThreeRotationsOffline(t *testing.T) {
	r := newRotations(t)
	f := newFixture(t, func(o *CreateOptions) { o.Keyrings, o.Keys = r.chain, r.keys[3:] })
	for i, ring := range r.rings {
		rd, err := Open(NewStream(bytes.NewReader(f.bytes(t))), ring)
		if err != nil {
			t.Fatalf("keyring %d: %v", i+1, err)
		}
		if rd.Keyring().Version != 4 || !bytes.Equal(rd.Keyrings(), r.chain) || rd.Keyring().MinEpoch != 3 {
			t.Errorf("keyring %d: got version %d", i+1, rd.Keyring().Version)
		}
	}
}

// A device keeps its newer keyring when a bundle brings an older chain.
func TestAttack_OlderKeyring(t *testing.T) {
	r := newRotations(t)
	chain, err := parseChain(r.chain)
	must(t, err)
	old := marshalChain(chain[:1])
	f := newFixture(t, func(o *CreateOptions) { o.Keyrings, o.Keys = old, r.keys[1:2] })
	// Good for a device that has keyring 1 or 2; the newer ones have revoked the key.
	for i, want := range []error{nil, nil, ErrSignature, ErrSignature} {
		_, err := readAll(NewStream(bytes.NewReader(f.bytes(t))), r.rings[i])
		if !errors.Is(err, want) {
			t.Errorf("keyring %d: got %v; want %v", i+1, err, want)
		}
	}
	k, err := VerifyKeyrings(old, r.rings[3])
	if err != nil || k != r.rings[3] {
		t.Errorf("got %v, %v; want the device's own keyring", k, err)
	}
}

func TestAttack_RotationSkipped(t *testing.T) {
	r := newRotations(t)
	chain, err := parseChain(r.chain)
	must(t, err)
	for i := range chain {
		without := append(append([]link{}, chain[:i]...), chain[i+1:]...)
		_, err := VerifyKeyrings(marshalChain(without), r.rings[0])
		if i == len(chain)-1 { // the last one left out is just an older chain
			must(t, err)
		} else if !errors.Is(err, ErrFormat) {
			t.Errorf("without version %d: %v", i+2, err)
		}
	}
}

// Each step needs its predecessor's keys and its own.
func TestAttack_RotationSignatures(t *testing.T) {
	a, b, thief := newKey(t), newKey(t), newKey(t)
	one := newRing(t, 1, a)
	two := one.Successor()
	must(t, two.Add(b.Public()))
	must(t, two.Revoke(a.Public().ID))
	step := func(keys ...*PrivateKey) []byte {
		e := &envelope{PayloadType: KeyringType, Payload: two.Marshal()}
		for _, k := range keys {
			must(t, e.sign(k))
		}
		return marshalChain([]link{{e, two}})
	}
	for name, c := range map[string]struct {
		chain []byte
		ok    bool
	}{
		"both":            {step(a, b), true},
		"both, and more":  {step(a, b, thief), true},
		"predecessor":     {step(a), false},
		"own":             {step(b), false},
		"a thief's":       {step(thief), false},
		"none":            {step(), false},
		"thief and owner": {step(thief, b), false},
	} {
		if _, err := VerifyKeyrings(c.chain, one); (err == nil) != c.ok || (!c.ok && !errors.Is(err, ErrSignature)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What only grows must not shrink, even with all signatures in place.
func TestAttack_KeyringWeakened(t *testing.T) {
	a, b, gone := newKey(t), newKey(t), newKey(t)
	one := newRing(t, 1, a, b)
	one.MinEpoch = 5
	must(t, one.Revoke(gone.Public().ID))
	for name, change := range map[string]func(k *Keyring){
		"revoked key back":    func(k *Keyring) { k.Revoked = nil },
		"minimum epoch lower": func(k *Keyring) { k.MinEpoch = 4 },
		"version skipped":     func(k *Keyring) { k.Version = 3 },
		"version again":       func(k *Keyring) { k.Version = 1 },
		"threshold 0":         func(k *Keyring) { k.Threshold = 0 },
	} {
		two := one.Successor()
		change(two)
		e := &envelope{PayloadType: KeyringType, Payload: two.Marshal()}
		must(t, e.sign(a))
		if _, err := VerifyKeyrings(marshalChain([]link{{e, two}}), one); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := StartRotation(EmptyKeyrings(), one, two); name != "threshold 0" && err == nil {
			t.Errorf("%s: could be signed", name)
		}
	}
}

// A fork: another keyring under a version that the device has already.
func TestAttack_KeyringFork(t *testing.T) {
	r := newRotations(t)
	thief := newKey(t)
	fork := r.rings[0].Successor()
	must(t, fork.Add(thief.Public()))
	chain := rotate(t, EmptyKeyrings(), r.rings[0], fork, r.keys[0], thief)
	if _, err := VerifyKeyrings(chain, r.rings[0]); err != nil {
		t.Fatalf("the old key can still fork a device that has only version 1: %v", err)
	}
	if _, err := VerifyKeyrings(chain, r.rings[1]); !errors.Is(err, ErrSignature) {
		t.Errorf("a device with version 2: %v", err)
	}
}

func TestAttack_KeyringUnknownField(t *testing.T) {
	good := string(newRing(t, 1, newKey(t)).Marshal())
	for _, bad := range []string{
		`{"anchor":true,` + good[1:],
		good + "\n",
		good[:len(good)-1] + `,"version":1}`,
	} {
		if _, err := ParseKeyring([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestRotationInSteps(t *testing.T) {
	a, b, c := newKey(t), newKey(t), newKey(t)
	one := newRing(t, 2, a, b)
	two := one.Successor()
	must(t, two.Add(c.Public()))
	must(t, two.Revoke(a.Public().ID))
	chain := EmptyKeyrings()
	for i, step := range []struct {
		key      *PrivateKey
		old, own int
	}{{a, 1, 2}, {b, 0, 1}, {c, 0, 0}} {
		r, err := StartRotation(chain, one, two)
		must(t, err)
		must(t, r.Sign(step.key))
		old, own, err := r.Missing()
		must(t, err)
		if old != step.old || own != step.own {
			t.Errorf("step %d: %d and %d are missing; want %d and %d", i, old, own, step.old, step.own)
		}
		chain = r.Marshal()
		_, err = VerifyKeyrings(chain, one)
		if complete := step.old+step.own == 0; (err == nil) != complete {
			t.Errorf("step %d: %v", i, err)
		}
		if _, err := checkChain(chain); (err == nil) != (step.own == 0) {
			t.Errorf("step %d: a packer says %v", i, err)
		}
	}
	r, err := StartRotation(chain, one, two)
	must(t, err)
	if err := r.Sign(newKey(t)); err == nil {
		t.Error("took a signature that counts for nobody")
	}
	if err := r.Attach(a.Public(), []byte("x")); err == nil {
		t.Error("took a wrong signature")
	}
}

func TestKeyringEdits(t *testing.T) {
	key := newKey(t)
	k := newRing(t, 1, key)
	if err := k.Add(key.Public()); err == nil {
		t.Error("added a key twice")
	}
	if err := k.Revoke("abc"); err == nil {
		t.Error("revoked no key")
	}
	must(t, k.Revoke(key.Public().ID))
	if err := k.Revoke(key.Public().ID); err == nil {
		t.Error("revoked a key twice")
	}
	for i := range maxKeys {
		if err := k.Add(newKey(t).Public()); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := k.Add(newKey(t).Public()); err == nil {
		t.Error("more keys than a keyring holds")
	}
	again, err := ParseKeyring(k.Marshal())
	must(t, err)
	if fmt.Sprint(again) != fmt.Sprint(k) {
		t.Error("a keyring changed on its way through JSON")
	}
	if _, err := NewKeyring(0); err == nil {
		t.Error("a threshold of 0")
	}
}

// A stranger can put other steps in front of the keyring that a device has
// already: the steps prove nothing to it, and change nothing. What was
// accepted once stays acceptable as the device's keyring advances.
func TestAttack_ForgedPast(t *testing.T) {
	r := newRotations(t)
	thief := newKey(t)
	fake := r.rings[0].Successor()
	must(t, fake.Add(thief.Public()))
	e := &envelope{PayloadType: KeyringType, Payload: fake.Marshal()}
	must(t, e.sign(thief))
	forged := marshalChain([]link{{e, fake}})
	if _, err := VerifyKeyrings(forged, r.rings[0]); !errors.Is(err, ErrSignature) {
		t.Errorf("keyring 1: %v", err)
	}
	if _, err := VerifyKeyrings(forged, r.rings[1]); !errors.Is(err, ErrSignature) {
		t.Errorf("keyring 2: %v", err)
	}
	for _, ring := range r.rings[2:] {
		k, err := VerifyKeyrings(forged, ring)
		if err != nil || k != ring {
			t.Errorf("keyring %d: %v", ring.Version, err)
		}
		// And the thief's key is worth nothing.
		f := newFixture(t, func(o *CreateOptions) { o.Keyrings, o.Keys = forged, []*PrivateKey{thief} })
		refused(t, f.bytes(t), ring, ErrSignature)
	}
}
