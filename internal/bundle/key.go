package bundle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Algorithm is how a key signs. The zero value is invalid.
type Algorithm uint8

// The algorithms of format 1. The key alone decides which one it is, so that
// a signature cannot choose a weaker one.
const (
	Ed25519      Algorithm = iota + 1
	ECDSAP256              // with SHA-256, ASN.1 DER signatures
	ECDSAP384              // with SHA-384, ASN.1 DER signatures
	RSAPSSSHA256           // 3072 bits or more, MGF1 with SHA-256, any salt length
)

var algorithmNames = map[Algorithm]string{
	Ed25519:      "ed25519",
	ECDSAP256:    "ecdsa-p256-sha256",
	ECDSAP384:    "ecdsa-p384-sha384",
	RSAPSSSHA256: "rsa-pss-sha256",
}

// String returns the name that keyrings use.
func (a Algorithm) String() string {
	if s, ok := algorithmNames[a]; ok {
		return s
	}
	return fmt.Sprintf("bundle.Algorithm(%d)", uint8(a))
}

// ParseAlgorithm reads the name of an algorithm.
func ParseAlgorithm(s string) (Algorithm, error) {
	for a, name := range algorithmNames {
		if name == s {
			return a, nil
		}
	}
	return 0, fmt.Errorf("algorithm %q; must be %s, %s, %s or %s", clip(s), Ed25519, ECDSAP256, ECDSAP384, RSAPSSSHA256)
}

// RSA keys below 3072 bits are too weak for a product that lives ten years;
// above 8192 a device would spend seconds on one signature.
const (
	minRSABits = 3072
	maxRSABits = 8192
)

// Key is a public key. Two keys are the same key when their IDs are equal.
type Key struct {
	ID        string // hexadecimal SHA-256 of SPKI
	Algorithm Algorithm
	SPKI      []byte // DER SubjectPublicKeyInfo, in its one canonical encoding

	public crypto.PublicKey
}

// ParseKey parses a DER SubjectPublicKeyInfo. It accepts only the encoding
// that Go itself produces: with a second spelling of the same key, one signer
// could count as two.
func ParseKey(spki []byte) (Key, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return Key{}, fmt.Errorf("no public key: %w", err)
	}
	alg, err := algorithmOf(pub)
	if err != nil {
		return Key{}, err
	}
	again, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Key{}, fmt.Errorf("no public key: %w", err)
	}
	if !bytes.Equal(again, spki) {
		return Key{}, errors.New("the public key is not in its canonical encoding")
	}
	return Key{ID: digest(spki).String(), Algorithm: alg, SPKI: spki, public: pub}, nil
}

func algorithmOf(pub crypto.PublicKey) (Algorithm, error) {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return Ed25519, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return ECDSAP256, nil
		case elliptic.P384():
			return ECDSAP384, nil
		}
		return 0, fmt.Errorf("curve %s: only P-256 and P-384 are used", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return 0, fmt.Errorf("an RSA key of %d bits; it must have %d to %d", n, minRSABits, maxRSABits)
		}
		if k.E < 65537 {
			return 0, fmt.Errorf("an RSA key with exponent %d; it must be 65537 or more", k.E)
		}
		return RSAPSSSHA256, nil
	}
	return 0, fmt.Errorf("a key of type %T; use Ed25519, ECDSA P-256 or P-384, or RSA", pub)
}

// ParseKeyPEM parses a PEM "PUBLIC KEY" block, as openssl pkey -pubout writes.
func ParseKeyPEM(b []byte) (Key, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PUBLIC KEY" {
		return Key{}, errors.New(`no PEM "PUBLIC KEY" (openssl pkey -in KEY.pem -pubout makes one)`)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return Key{}, errors.New("something follows the public key")
	}
	return ParseKey(block.Bytes)
}

// PEM returns the key as a PEM "PUBLIC KEY" block.
func (k Key) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.SPKI})
}

// Verify checks a signature of message.
func (k Key) Verify(message, sig []byte) error {
	ok := false
	switch pub := k.public.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, message, sig)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, ecdsaDigest(pub.Curve, message), sig)
	case *rsa.PublicKey:
		sum := sha256.Sum256(message)
		// Programs choose the salt length; it adds nothing to check.
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256}
		ok = rsa.VerifyPSS(pub, crypto.SHA256, sum[:], sig, opts) == nil
	}
	if !ok {
		return fmt.Errorf("the signature is not one by the %s key %s over these bytes", k.Algorithm, k.ID)
	}
	return nil
}

func ecdsaDigest(curve elliptic.Curve, message []byte) []byte {
	if curve == elliptic.P384() {
		sum := sha512.Sum384(message)
		return sum[:]
	}
	sum := sha256.Sum256(message)
	return sum[:]
}
