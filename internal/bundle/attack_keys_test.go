package bundle

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// reseal replaces the manifest's envelope.
func reseal(t *testing.T, kind error, change func(f *fixture, e *envelope) []byte) {
	t.Helper()
	attack(t, kind, func(f *fixture, list []entry) []entry {
		e := find(t, list, ManifestName)
		env, err := parseEnvelope(e.data, ManifestType, MaxManifest)
		must(t, err)
		e.data = change(f, env)
		return list
	})
}

func TestAttack_SignatureAbsent(t *testing.T) {
	reseal(t, ErrFormat, func(_ *fixture, e *envelope) []byte {
		tree := e.tree()
		delete(tree, "signatures")
		return appendCanonical(nil, tree)
	})
}

func TestAttack_ZeroSigners(t *testing.T) {
	reseal(t, ErrSignature, func(_ *fixture, e *envelope) []byte {
		e.Signatures = nil
		return e.marshal()
	})
}

func TestAttack_SignatureEmpty(t *testing.T) {
	reseal(t, ErrFormat, func(_ *fixture, e *envelope) []byte {
		e.Signatures[0].Sig = nil
		return e.marshal()
	})
}

func TestAttack_UnknownKey(t *testing.T) {
	reseal(t, ErrSignature, func(_ *fixture, e *envelope) []byte { return signed(t, e.Payload, newKey(t)) })
}

// A signature by a stranger under the name of a known key is a bad signature
// of the known key.
func TestAttack_KnownKeyBadSignature(t *testing.T) {
	reseal(t, ErrSignature, func(f *fixture, e *envelope) []byte {
		sig, err := newKey(t).Sign(e.pae())
		must(t, err)
		e.Signatures[0].Sig = sig
		return e.marshal()
	})
}

// One bad signature of a known key refuses even when enough good ones are there.
func TestAttack_BadSignatureNextToGoodOne(t *testing.T) {
	f := newFixture(t, nil)
	second := newKey(t)
	must(t, f.ring.Add(second.Public()))
	list := entries(t, f.bytes(t))
	e := find(t, list, ManifestName)
	env, err := parseEnvelope(e.data, ManifestType, MaxManifest)
	must(t, err)
	must(t, env.sign(second))
	e.data = env.marshal()
	if _, err := readAll(NewStream(bytes.NewReader(assemble(t, list))), f.ring); err != nil {
		t.Fatal(err)
	}
	env.Signatures[0].Sig[0] ^= 1
	e.data = env.marshal()
	refused(t, assemble(t, list), f.ring, ErrSignature)
}

func TestUnknownSignatureIsIgnored(t *testing.T) {
	f := newFixture(t, func(o *CreateOptions) { o.Keys = append(o.Keys, newKey(t)) })
	f.ring = newRing(t, 1, f.options.Keys[0])
	if _, err := readAll(NewStream(bytes.NewReader(f.bytes(t))), f.ring); err != nil {
		t.Error(err)
	}
}

func TestAttack_RevokedKey(t *testing.T) {
	f := newFixture(t, nil)
	must(t, f.ring.Add(newKey(t).Public()))
	must(t, f.ring.Revoke(f.key.Public().ID))
	refused(t, f.bytes(t), f.ring, ErrSignature)
	if err := f.ring.Add(f.key.Public()); err == nil {
		t.Error("a revoked key came back")
	}
}

func TestAttack_BelowThreshold(t *testing.T) {
	f := newFixture(t, nil)
	ring := newRing(t, 2, f.key, newKey(t))
	refused(t, f.bytes(t), ring, ErrSignature)
}

func TestAttack_ThresholdOfNoKeys(t *testing.T) {
	f := newFixture(t, nil)
	refused(t, f.bytes(t), newRing(t, 1), ErrSignature)
	refused(t, f.bytes(t), newRing(t, 2, f.key), ErrSignature)
}

func TestAttack_SameKeyTwice(t *testing.T) {
	f := newFixture(t, nil)
	ring := newRing(t, 2, f.key, newKey(t))
	list := entries(t, f.bytes(t))
	e := find(t, list, ManifestName)
	env, err := parseEnvelope(e.data, ManifestType, MaxManifest)
	must(t, err)
	env.Signatures = append(env.Signatures, env.Signatures[0])
	e.data = env.marshal()
	refused(t, assemble(t, list), ring, ErrFormat)
	// In another spelling of the id.
	e.data = bytes.Replace(e.data, []byte(env.Signatures[0].KeyID), []byte(strings.ToUpper(env.Signatures[0].KeyID)), 1)
	refused(t, assemble(t, list), ring, ErrFormat)
}

// A keyring that lists one key under two ids would let one signer count twice.
func TestAttack_KeyUnderTwoIDs(t *testing.T) {
	key := newKey(t)
	ring := newRing(t, 2, key, newKey(t))
	for i := range ring.Keys {
		ring.Keys[i].SPKI = key.Public().SPKI
	}
	if _, err := ParseKeyring(ring.Marshal()); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
}

// A P-256 point has a compressed encoding too: another SHA-256, the same key.
func TestAttack_KeyInTwoEncodings(t *testing.T) {
	key, err := GenerateKey(ECDSAP256)
	must(t, err)
	spki := key.Public().SPKI
	point := spki[len(spki)-65:]
	compressed := append(bytes.Clone(spki[:len(spki)-65]), 2|point[64]&1)
	compressed = append(compressed, point[1:33]...)
	compressed[1] -= 32
	compressed[len(compressed)-35] -= 32
	if _, err := ParseKey(compressed); err == nil {
		t.Error("accepted a compressed point")
	}
	if _, err := ParseKey(append(bytes.Clone(spki), 0)); err == nil {
		t.Error("accepted trailing data")
	}
}

func TestAttack_OtherPayloadType(t *testing.T) {
	// A good signature of the same text, for another purpose.
	reseal(t, ErrSignature, func(f *fixture, e *envelope) []byte {
		other := &envelope{PayloadType: KeyringType, Payload: e.Payload}
		must(t, other.sign(f.key))
		e.Signatures = other.Signatures
		return e.marshal()
	})
	reseal(t, ErrFormat, func(f *fixture, e *envelope) []byte {
		other := &envelope{PayloadType: KeyringType, Payload: e.Payload}
		must(t, other.sign(f.key))
		return other.marshal()
	})
}

func TestAttack_EnvelopeSpelling(t *testing.T) {
	change := func(from, to string) {
		t.Helper()
		reseal(t, ErrFormat, func(_ *fixture, e *envelope) []byte {
			b := string(e.marshal())
			out := strings.Replace(b, from, to, 1)
			if out == b {
				t.Fatalf("no %s in the envelope", from)
			}
			return []byte(out)
		})
	}
	change(`"payload"`, `"Payload"`)
	change(`{"payload"`, `{"payload":"QUE=","payload"`)
	change(`{"payload"`, `{"extra":1,"payload"`)
	change(`{"payload"`, ` {"payload"`)
	change(`]}`, `]} `)
	change(`]}`, `]}{}`)
	change(`{"keyid"`, `{"cert":"x","keyid"`)
}

func TestAttack_Base64Spelling(t *testing.T) {
	for _, c := range []struct {
		text string
		ok   bool
	}{{"QUE=", true}, {"QUF=", false}, {"QUE", false}, {"QU E=", false}, {"QUE=\n", false}, {"-_8=", false}, {"+/8=", true}} {
		if _, err := decodeBase64(c.text); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

func TestSameSignatureEachTime(t *testing.T) {
	for _, alg := range []Algorithm{Ed25519, ECDSAP256, ECDSAP384, RSAPSSSHA256} {
		key, err := GenerateKey(alg)
		must(t, err)
		pem, err := key.PEM()
		must(t, err)
		again, err := ParsePrivateKeyPEM(pem)
		must(t, err)
		a, err := key.Sign([]byte("message"))
		must(t, err)
		b, err := again.Sign([]byte("message"))
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Errorf("%v: two signatures differ", alg)
		}
		pub, err := ParseKeyPEM(key.Public().PEM())
		must(t, err)
		if err := pub.Verify([]byte("massage"), a); err == nil {
			t.Errorf("%v: verifies another message", alg)
		}
		if got, err := ParseAlgorithm(alg.String()); err != nil || got != alg {
			t.Errorf("%v: %v, %v", alg, got, err)
		}
	}
}
