package preserve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testCA(t *testing.T, name string) (der []byte, text string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	if der, err = x509.CreateCertificate(rand.Reader, c, c, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	return der, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCATrust(t *testing.T) {
	_, site := testCA(t, "Site CA")
	der, _ := testCA(t, "Site CA in DER")
	_, public := testCA(t, "Public CA")
	_, blocked := testCA(t, "Bad CA")
	_, shipped := testCA(t, "Vendor CA")
	const tls = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
	old, new := newMemTree(), newMemTree()
	put := func(tree *memTree, name, content string) {
		t.Helper()
		if err := tree.put(&memNode{entry: Entry{Path: name, Kind: KindFile, Mode: 0o644, Size: int64(len(content))}, open: inMemory(content)}); err != nil {
			t.Fatal(err)
		}
	}
	put(old, caSource+"/anchors/site.pem", "Subject: Site CA $(reboot)\n"+site)
	put(old, caSource+"/anchors/site.crt", string(der))
	put(old, caSource+"/anchors/garbage.crt", "garbage")
	put(old, caSource+"/anchors/vendor.pem", shipped)
	put(old, caSource+"/blacklist/bad.pem", blocked)
	put(old, caSource+"/README", "text")
	image := newMemTree()
	put(image, caSource+"/anchors/vendor.pem", shipped)
	list, err := Defaults(image, []string{"/etc/pki/**"})
	if err != nil {
		t.Fatal(err)
	}
	put(old, defaultsFile, string(list))
	put(new, caSource+"/blocklist/README", "text")
	put(new, tls, "# Public CA\n"+public+"\n# Bad CA\n"+blocked)
	p, err := planOne(caTrust{}, old, new)
	if err != nil {
		t.Fatal(err)
	}
	if got := written(t, p, caSource+"/anchors/site.pem"); !strings.HasSuffix(got, site) {
		t.Errorf("%q", got)
	}
	if got := written(t, p, caSource+"/blocklist/bad.pem"); got != blocked {
		t.Errorf("%q", got)
	}
	certs, err := parseCertificates([]byte(written(t, p, tls)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range certs {
		names = append(names, c.Subject.CommonName)
	}
	if strings.Join(names, ", ") != "Public CA, Site CA in DER, Site CA" {
		t.Errorf("%q", names)
	}
	for _, op := range p.Ops {
		if strings.HasSuffix(op.Path, "garbage.crt") || strings.HasSuffix(op.Path, "vendor.pem") {
			t.Errorf("/%s is carried", op.Path)
		}
	}
	if !noted(p, Warning, "garbage.crt", "no certificate") || !noted(p, Kept, "vendor.pem", "") {
		t.Errorf("%v", p.Notes)
	}
	judgeCA(t, written(t, p, tls), site)
}

// judgeCA lets openssl verify the site's CA with the list.
func judgeCA(t *testing.T, bundle, cert string) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("apt-get install openssl")
	}
	d := &disk{}
	dir := t.TempDir()
	d.put(t, filepath.Join(dir, "bundle.pem"), bundle)
	d.put(t, filepath.Join(dir, "cert.pem"), cert)
	out, err := exec.Command("openssl", "verify", "-no-CApath", "-CAfile", filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "cert.pem")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
