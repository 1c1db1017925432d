package bundle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// PrivateKey signs manifests and keyrings. Keys that live in an HSM sign the
// output of PAE elsewhere; see AttachSignature.
type PrivateKey struct {
	key crypto.Signer
	pub Key
}

// GenerateKey makes a private key.
func GenerateKey(a Algorithm) (*PrivateKey, error) {
	key, err := generate(a)
	if err != nil {
		return nil, fmt.Errorf("generating a key of type %v: %w", a, err)
	}
	return newPrivateKey(key)
}

func generate(a Algorithm) (crypto.Signer, error) {
	switch a {
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSAPSSSHA256:
		return rsa.GenerateKey(rand.Reader, minRSABits)
	}
	return nil, errors.New("unknown algorithm")
}

// ParsePrivateKeyPEM parses an unencrypted PEM private key: PKCS #8, as
// openssl genpkey writes it, or the older "EC" and "RSA PRIVATE KEY".
func ParsePrivateKeyPEM(b []byte) (*PrivateKey, error) {
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			return nil, errors.New("no PEM private key (openssl genpkey makes one)")
		}
		b = rest
		// openssl ecparam puts "EC PARAMETERS" in front of the key.
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		key, err := parsePrivate(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %q: %w", clip(block.Type), err)
		}
		return newPrivateKey(key)
	}
}

func parsePrivate(block *pem.Block) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return nil, errors.New("not a kind that can be read (an encrypted one must be decrypted first: openssl pkey)")
}

func newPrivateKey(key any) (*PrivateKey, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	pub, err := ParseKey(spki)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{key: signer, pub: pub}, nil
}

// Public returns the public half.
func (p *PrivateKey) Public() Key { return p.pub }

// PEM returns the key as unencrypted PKCS #8.
func (p *PrivateKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Sign signs message. The same message gives the same signature, so that the
// same input gives the same bundle: ECDSA takes its nonce from RFC 6979 (what
// a nil reader means to crypto/ecdsa), RSA-PSS its salt from the message.
func (p *PrivateKey) Sign(message []byte) ([]byte, error) {
	sig, err := p.sign(message)
	if err != nil {
		return nil, fmt.Errorf("signing with key %s: %w", p.pub.ID, err)
	}
	if err := p.pub.Verify(message, sig); err != nil {
		return nil, fmt.Errorf("internal error: checking a signature just made: %w", err)
	}
	return sig, nil
}

func (p *PrivateKey) sign(message []byte) ([]byte, error) {
	switch p.pub.Algorithm {
	case Ed25519:
		return p.key.Sign(nil, message, crypto.Hash(0))
	case ECDSAP256:
		return p.key.Sign(nil, ecdsaDigest(elliptic.P256(), message), crypto.SHA256)
	case ECDSAP384:
		return p.key.Sign(nil, ecdsaDigest(elliptic.P384(), message), crypto.SHA384)
	case RSAPSSSHA256:
		sum := sha256.Sum256(message)
		salt := sha256.Sum256(append([]byte("abupdate PSS salt\n"), sum[:]...))
		opts := &rsa.PSSOptions{SaltLength: len(salt), Hash: crypto.SHA256}
		return p.key.Sign(bytes.NewReader(salt[:]), sum[:], opts)
	}
	return nil, fmt.Errorf("internal error: a private key of type %v", p.pub.Algorithm)
}
