package preserve

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path"
	"slices"
	"strings"
)

// hostKey is what an SSH private key file holds.
type hostKey struct {
	algorithm string // "ssh-rsa", "ssh-dss", "ecdsa-sha2-nistp256", "ssh-ed25519"
	bits      int    // of an RSA modulus
}

// minRSA is what EL9's sshd asks of a key.
const minRSA = 2048

// parseHostKey reads a private key: OpenSSH's own form or the older PEM ones.
// Only what is in clear text is looked at.
func parseHostKey(b []byte) (hostKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return hostKey{}, errors.New("no private key")
	}
	switch block.Type {
	case "OPENSSH PRIVATE KEY":
		return parseOpenSSHKey(block.Bytes)
	case "RSA PRIVATE KEY":
		k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return hostKey{}, fmt.Errorf("no RSA key: %w", err)
		}
		return hostKey{"ssh-rsa", k.N.BitLen()}, nil
	case "DSA PRIVATE KEY":
		return hostKey{algorithm: "ssh-dss"}, nil
	case "EC PRIVATE KEY":
		if _, err := x509.ParseECPrivateKey(block.Bytes); err != nil {
			return hostKey{}, fmt.Errorf("no ECDSA key: %w", err)
		}
		return hostKey{algorithm: "ecdsa"}, nil
	}
	return hostKey{}, fmt.Errorf("a PEM block of type %.40q", block.Type)
}

// parseOpenSSHKey reads the public part (PROTOCOL.key in OpenSSH's sources):
// magic, cipher, KDF, its options, number of keys, public key.
func parseOpenSSHKey(b []byte) (hostKey, error) {
	b, ok := bytes.CutPrefix(b, []byte("openssh-key-v1\x00"))
	if !ok {
		return hostKey{}, errors.New("no key of OpenSSH's")
	}
	cipher, b, ok := sshString(b)
	if !ok || string(cipher) != "none" {
		return hostKey{}, errors.New("encrypted: sshd cannot read it")
	}
	for range 2 {
		if _, b, ok = sshString(b); !ok {
			return hostKey{}, errors.New("cut short")
		}
	}
	if len(b) < 4 || binary.BigEndian.Uint32(b) != 1 {
		return hostKey{}, errors.New("not exactly one key")
	}
	public, _, ok := sshString(b[4:])
	if !ok {
		return hostKey{}, errors.New("cut short")
	}
	return parsePublicKey(public)
}

// parsePublicKey reads a public key in SSH's wire form (RFC 4253, 6.6).
func parsePublicKey(b []byte) (hostKey, error) {
	name, rest, ok := sshString(b)
	if !ok || len(name) == 0 || len(name) > 64 {
		return hostKey{}, errors.New("no public key")
	}
	k := hostKey{algorithm: string(name)}
	if k.algorithm == "ssh-rsa" {
		if _, rest, ok = sshString(rest); !ok { // the exponent
			return hostKey{}, errors.New("cut short")
		}
		n, _, ok := sshString(rest)
		if !ok {
			return hostKey{}, errors.New("cut short")
		}
		k.bits = new(big.Int).SetBytes(n).BitLen()
	}
	return k, nil
}

// sshString takes a string with its length in front.
func sshString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// parseAuthorized reads a line of a .pub file.
func parseAuthorized(line string) (hostKey, error) {
	f := strings.Fields(line)
	if len(f) < 2 {
		return hostKey{}, errors.New("no public key")
	}
	b, err := base64.StdEncoding.DecodeString(f[1])
	if err != nil {
		return hostKey{}, errors.New("no public key")
	}
	k, err := parsePublicKey(b)
	if err == nil && k.algorithm != f[0] {
		err = errors.New("its name does not match")
	}
	return k, err
}

// hostKeys plans the host keys, and takes away those that the new image
// brought along: keys of an image are the same on every device.
func (h ssh) hostKeys(p *Planner, config *sshdConfig) error {
	names := []string{}
	found, err := p.Find("etc/ssh/ssh_host_*")
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Kind == KindFile || e.Kind == KindSymlink {
			names = append(names, e.Path)
		}
	}
	for _, s := range config.settings {
		if s.key == "hostkey" || s.key == "hostcertificate" {
			if name, err := Clean(s.value); err == nil && strings.HasPrefix(s.value, "/") && !slices.Contains(names, name) {
				names = append(names, name, name+".pub")
			}
		}
	}
	slices.Sort(names)
	carried := map[string]bool{}
	for _, name := range names {
		text, there, err := p.oldText(name)
		if err != nil {
			return err
		}
		if there && !carried[name] {
			if carried[name], err = h.hostKey(p, name, text); err != nil {
				return err
			}
		}
	}
	if len(carried) == 0 {
		p.Note(Warning, "host keys", "the old system has none; the new one will make its own, and clients will complain")
		return nil
	}
	return h.dropImageKeys(p, carried)
}

// hostKey plans one file of a host key; whether it is carried.
func (ssh) hostKey(p *Planner, name, text string) (bool, error) {
	subject := absolute(name)
	switch {
	case strings.HasSuffix(name, "-cert.pub"):
		return true, p.Write(name, []byte(text), 0o644, 0, 0)
	case strings.HasSuffix(name, ".pub"):
		if k, err := parseAuthorized(text); err != nil || k.algorithm == "ssh-dss" {
			return false, nil // nothing reads it; the private key gets the note
		}
		return true, p.Write(name, []byte(text), 0o644, 0, 0)
	}
	k, err := parseHostKey([]byte(text))
	switch {
	case path.Base(name) == "ssh_host_key":
		p.Note(Dropped, subject, "a key of SSH version 1")
		return false, nil
	case err != nil:
		p.Note(Warning, subject, "not carried: %v", err)
		return false, nil
	case k.algorithm == "ssh-dss":
		p.Note(Dropped, subject, "a DSA key: sshd no longer uses them")
		return false, nil
	case k.algorithm == "ssh-rsa" && k.bits < minRSA:
		p.Note(Warning, subject, "an RSA key of %d bits: sshd of EL9 does not use it, clients will see another key", k.bits)
	default:
		p.Note(Carried, subject, "%s", k.algorithm)
	}
	// EL7 and EL8 have 0640 root:ssh_keys, a group that EL9 gives up. This
	// is what every sshd takes.
	return true, p.Write(name, []byte(text), 0o600, 0, 0)
}

func (ssh) dropImageKeys(p *Planner, carried map[string]bool) error {
	found, err := Find(p.new, "etc/ssh/ssh_host_*")
	if err != nil {
		return failed("looking for host keys in the new system", err)
	}
	for _, e := range found {
		if carried[e.Path] || e.Kind == KindDir {
			continue
		}
		p.Note(Dropped, absolute(e.Path), "a host key of the new image: this device has its own")
		if err := p.Remove(e.Path); err != nil {
			return err
		}
	}
	return nil
}
