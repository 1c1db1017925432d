package preserve

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// caTrust carries the certificate authorities that the site has added, or
// taken back.
type caTrust struct{}

func (caTrust) Name() string { return "ca-trust" }

const caSource = "etc/pki/ca-trust/source"

// caBundles are made by update-ca-trust from all sources. It does not run
// here: what the site has added is added to them too, and update-ca-trust,
// when it runs next, comes to the same.
var caBundles = []string{
	"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"etc/pki/ca-trust/extracted/openssl/ca-bundle.trust.crt",
}

func (caTrust) Sources(Tree) []string {
	return []string{caSource + "/anchors/**", caSource + "/blacklist/**", caSource + "/blocklist/**", caSource + "/*.p11-kit", caSource + "/*.crt", caSource + "/*.pem"}
}

func (c caTrust) Plan(_, new Tree, p *Planner) error {
	p.Claim(caSource+"/**", "etc/pki/ca-trust/extracted/**")
	var trusted, blocked []*x509.Certificate
	found, err := p.Find(c.Sources(nil)...)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Kind != KindFile || e.Name() == "README" {
			continue
		}
		if e.Size > maxConfig {
			return p.Refuse(absolute(e.Path), fmt.Sprintf("has %d bytes: no list of certificates is that long", e.Size), "leave it out with [[drop]] in /etc/abupdate/preserve.d")
		}
		dir := path.Base(path.Dir(e.Path))
		certs, err := c.carry(p, e, c.place(new, e.Path))
		if err != nil {
			return err
		}
		switch dir {
		case "anchors":
			trusted = append(trusted, certs...)
		case "blacklist", "blocklist":
			blocked = append(blocked, certs...)
		}
	}
	if len(trusted)+len(blocked) == 0 {
		return nil
	}
	for _, bundle := range caBundles {
		if err := c.bundle(p, bundle, trusted, blocked); err != nil {
			return err
		}
	}
	if Exists(new, "etc/pki/ca-trust/extracted/java/cacerts") {
		p.Note(Warning, "ca-trust", "Java's own list is as in the image until update-ca-trust runs there")
	}
	return nil
}

// place is where a file belongs: newer systems say blocklist.
func (caTrust) place(new Tree, name string) string {
	from, to := caSource+"/blacklist/", caSource+"/blocklist/"
	if rest, ok := strings.CutPrefix(name, from); ok && !Exists(new, strings.TrimSuffix(from, "/")) && Exists(new, strings.TrimSuffix(to, "/")) {
		return to + rest
	}
	if rest, ok := strings.CutPrefix(name, to); ok && !Exists(new, strings.TrimSuffix(to, "/")) && Exists(new, strings.TrimSuffix(from, "/")) {
		return from + rest
	}
	return name
}

// carry plans one file and returns its certificates.
func (caTrust) carry(p *Planner, e Entry, to string) ([]*x509.Certificate, error) {
	if p.asShipped(e.Path) {
		p.Note(Kept, absolute(e.Path), "never changed on this device")
		return nil, nil
	}
	b, err := ReadFile(p.old, e.Path, maxConfig)
	if err != nil {
		return nil, failed("reading a CA certificate", err)
	}
	certs, err := parseCertificates(b)
	switch {
	case strings.HasSuffix(e.Path, ".p11-kit") || bytes.Contains(b, []byte("BEGIN TRUSTED CERTIFICATE")):
		p.Note(Warning, absolute(e.Path), "takes effect when update-ca-trust runs in the new system")
	case err != nil:
		p.Note(Warning, absolute(e.Path), "not carried: %v", err)
		return nil, nil
	}
	kind := Carried
	if to != e.Path {
		kind = Translated
	}
	p.Note(kind, absolute(to), "%d certificates", len(certs))
	for _, cert := range certs {
		if why := weakCertificate(cert); why != "" {
			p.Note(Warning, absolute(to), "%.80q: %s: EL9 does not take it", cert.Subject.CommonName, why)
		}
	}
	return certs, p.Write(to, b, 0o644, 0, 0)
}

// weakCertificate tells what EL9's default policy refuses.
func weakCertificate(c *x509.Certificate) string {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return fmt.Sprintf("an RSA key of %d bits", k.N.BitLen())
	}
	weak := []x509.SignatureAlgorithm{x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}
	if slices.Contains(weak, c.SignatureAlgorithm) && !bytes.Equal(c.RawSubject, c.RawIssuer) { // a root's own signature is not looked at
		return "signed with " + c.SignatureAlgorithm.String()
	}
	return ""
}

// parseCertificates reads PEM, with text between, or one certificate in DER.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	rest := b
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("no certificate: %w", err)
		}
		certs = append(certs, c)
	}
	if len(certs) > 0 {
		return certs, nil
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, errors.New("no certificate in it")
	}
	return []*x509.Certificate{c}, nil
}

// bundle adds certificates to a list of the new system, and takes the blocked
// ones out.
func (caTrust) bundle(p *Planner, name string, trusted, blocked []*x509.Certificate) error {
	text, there, err := treeText(p.new, name)
	if err != nil || !there {
		return err
	}
	has := map[string]bool{}
	var out strings.Builder
	rest := []byte(text)
	for {
		block, next := pem.Decode(rest)
		if block == nil {
			out.Write(rest)
			break
		}
		part := rest[:len(rest)-len(next)]
		rest = next
		if block.Type == "CERTIFICATE" && contains(blocked, block.Bytes) {
			continue
		}
		has[string(block.Bytes)] = true
		out.Write(part)
	}
	for _, c := range trusted {
		if !has[string(c.Raw)] && !contains(blocked, c.Raw) {
			has[string(c.Raw)] = true
			fmt.Fprintf(&out, "\n# added by abupdate\n%s", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
		}
	}
	if out.String() == text {
		return nil
	}
	return p.rewrite(name, out.String(), 0o444)
}

func contains(certs []*x509.Certificate, raw []byte) bool {
	for _, c := range certs {
		if bytes.Equal(c.Raw, raw) {
			return true
		}
	}
	return false
}
