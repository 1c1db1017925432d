package bundle

import (
	"encoding/base64"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// envelope is a DSSE envelope (github.com/secure-systems-lab/dsse) in the one
// spelling that this format allows: canonical JSON, strict standard base64,
// signatures sorted by key ID and one for each key.
//
// Of go-securesystemslib only PAE is used. Its verifier skips bad signatures,
// counts key IDs that the signer chose, and takes URL-safe base64 too.
type envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []signature
}

type signature struct {
	KeyID string // hexadecimal SHA-256 of the signer's SPKI
	Sig   []byte
}

const (
	maxSignatures    = 64
	maxSignatureSize = 4096 // base64; the largest RSA key needs 1368
)

// parseEnvelope parses an envelope of at most limit bytes that carries the
// given payload type.
func parseEnvelope(b []byte, payloadType string, limit int) (*envelope, error) {
	if len(b) > limit {
		return nil, fmt.Errorf("%d bytes; at most %d", len(b), limit)
	}
	tree, err := parseCanonical(b)
	if err != nil {
		return nil, err
	}
	return envelopeOf(tree, payloadType)
}

func envelopeOf(tree any, payloadType string) (*envelope, error) {
	o := newObject("envelope", tree)
	payload := o.text("payload")
	e := &envelope{PayloadType: o.text("payloadType")}
	for i, v := range o.array("signatures", maxSignatures) {
		s, err := parseSignature(newObject(fmt.Sprintf("envelope: signatures[%d]", i), v))
		if err != nil {
			return nil, err
		}
		if i > 0 && e.Signatures[i-1].KeyID >= s.KeyID {
			return nil, fmt.Errorf("envelope: signatures[%d]: key %s signs twice, or the signatures are not sorted by key id", i, s.KeyID)
		}
		e.Signatures = append(e.Signatures, s)
	}
	if err := o.closed(); err != nil {
		return nil, err
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("envelope: payload type %q; must be %q", clip(e.PayloadType), payloadType)
	}
	var err error
	if e.Payload, err = decodeBase64(payload); err != nil {
		return nil, fmt.Errorf("envelope: field \"payload\": %w", err)
	}
	return e, nil
}

func parseSignature(o *object) (signature, error) {
	id, text := o.text("keyid"), o.text("sig")
	if err := o.closed(); err != nil {
		return signature{}, err
	}
	if _, err := parseDigest(id); err != nil {
		return signature{}, fmt.Errorf("%s: field \"keyid\": %w", o.where, err)
	}
	if text == "" || len(text) > maxSignatureSize {
		return signature{}, fmt.Errorf("%s: field \"sig\" has %d characters; must be 1 to %d", o.where, len(text), maxSignatureSize)
	}
	sig, err := decodeBase64(text)
	if err != nil {
		return signature{}, fmt.Errorf("%s: field \"sig\": %w", o.where, err)
	}
	return signature{KeyID: id, Sig: sig}, nil
}

// decodeBase64 accepts one spelling for each value: Go's decoder alone takes
// "QUE=" and "QUF=" for the same byte, and skips line breaks.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, err
	}
	if base64.StdEncoding.EncodeToString(b) != s {
		return nil, fmt.Errorf("no strict standard base64")
	}
	return b, nil
}

func (e *envelope) tree() map[string]any {
	sigs := []any{}
	for _, s := range e.Signatures {
		sigs = append(sigs, map[string]any{
			"keyid": s.KeyID,
			"sig":   base64.StdEncoding.EncodeToString(s.Sig),
		})
	}
	return map[string]any{
		"payload":     base64.StdEncoding.EncodeToString(e.Payload),
		"payloadType": e.PayloadType,
		"signatures":  sigs,
	}
}

func (e *envelope) marshal() []byte { return appendCanonical(nil, e.tree()) }

// pae returns the bytes that are signed: DSSE's pre-authentication encoding,
// which covers the payload type too.
func (e *envelope) pae() []byte { return dsse.PAE(e.PayloadType, e.Payload) }

// sign adds a signature, or replaces the one by the same key.
func (e *envelope) sign(key *PrivateKey) error {
	sig, err := key.Sign(e.pae())
	if err != nil {
		return err
	}
	return e.attach(key.Public(), sig)
}

// attach adds a signature made elsewhere, after checking it: a wrong one
// would make every device refuse the bundle.
func (e *envelope) attach(key Key, sig []byte) error {
	if err := key.Verify(e.pae(), sig); err != nil {
		return err
	}
	at := len(e.Signatures)
	for i, s := range e.Signatures {
		if s.KeyID == key.ID {
			e.Signatures[i].Sig = sig
			return nil
		}
		if s.KeyID > key.ID {
			at = i
			break
		}
	}
	if len(e.Signatures) == maxSignatures {
		return fmt.Errorf("there are %d signatures already, the most an envelope can hold", maxSignatures)
	}
	e.Signatures = append(e.Signatures, signature{})
	copy(e.Signatures[at+1:], e.Signatures[at:])
	e.Signatures[at] = signature{KeyID: key.ID, Sig: sig}
	return nil
}

// verify checks that enough distinct keys of k signed e. A bad signature
// under the name of a known key refuses, because nothing honest produces
// one; signatures by unknown keys are ignored, so that a bundle can be signed
// for devices with different keyrings. Revoked keys are never in k.Keys.
func (e *envelope) verify(k *Keyring) error {
	if len(e.Signatures) == 0 {
		return signatureErrorf("it is not signed")
	}
	pae := e.pae()
	good, unknown, revoked := 0, 0, 0
	for _, s := range e.Signatures {
		key, known := k.find(s.KeyID)
		switch {
		case k.revoked(s.KeyID):
			revoked++
		case !known:
			unknown++
		default:
			if err := key.Verify(pae, s.Sig); err != nil {
				return hashErrorf("%w", err)
			}
			good++
		}
	}
	if good < k.Threshold {
		return signatureErrorf("%d of the %d signatures count, and keyring version %d wants %d (%d by keys it does not know, %d by revoked keys)",
			good, len(e.Signatures), k.Version, k.Threshold, unknown, revoked)
	}
	return nil
}
