package source_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

// authority is a CA of the test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.NotBefore = time.Now().Add(-365 * 24 * time.Hour)
	})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// issue writes name.crt and name.key.
func (a *authority) issue(t *testing.T, name string, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if change != nil {
		change(tmpl)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(a.path(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(a.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve starts an HTTPS server with the certificate name.
func (a *authority) serve(t *testing.T, name string, h http.Handler, wantClient bool) *httptest.Server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.path(name+".crt"), a.path(name+".key"))
	must(t, err)
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	if wantClient {
		srv.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		srv.TLS.ClientCAs = x509.NewCertPool()
		srv.TLS.ClientCAs.AddCert(a.cert)
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func say(data []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
}

func TestTLSOwnCA(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "server", nil)
	srv := a.serve(t, "server", say([]byte("hello")), false)

	_, err := readAll(t, srv.URL, fast())
	wantDownloadError(t, err, "unknown authority", "[download]")

	o := fast()
	o.CAFile = a.path("ca.crt")
	if got, err := readAll(t, srv.URL, o); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTLSClientCertificate(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "server", nil)
	a.issue(t, "client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	srv := a.serve(t, "server", say([]byte("hello")), true)
	o := fast()
	o.CAFile = a.path("ca.crt")
	_, err := readAll(t, srv.URL, o)
	wantDownloadError(t, err, "client certificate")

	o.ClientCert, o.ClientKey = a.path("client.crt"), a.path("client.key")
	if got, err := readAll(t, srv.URL, o); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTLSBadOptions(t *testing.T) {
	a := newAuthority(t)
	empty := a.path("empty")
	must(t, os.WriteFile(empty, []byte("no PEM"), 0o600))
	for name, change := range map[string]func(*source.Options){
		"no CA file":      func(o *source.Options) { o.CAFile = a.path("none") },
		"empty CA file":   func(o *source.Options) { o.CAFile = empty },
		"key without":     func(o *source.Options) { o.ClientKey = a.path("ca.key") },
		"cert without":    func(o *source.Options) { o.ClientCert = a.path("ca.crt") },
		"bad key":         func(o *source.Options) { o.ClientCert, o.ClientKey = a.path("ca.crt"), empty },
		"proxy scheme":    func(o *source.Options) { o.Proxy = "ftp://127.0.0.1:1" },
		"proxy no scheme": func(o *source.Options) { o.Proxy = "127.0.0.1:3128" },
		"negative":        func(o *source.Options) { o.LimitRate = -1 },
	} {
		o := fast()
		change(&o)
		if _, err := source.Open(t.Context(), "https://127.0.0.1:1/", nil, o); !errors.Is(err, source.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func at(year int) func() time.Time {
	return func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
}

// A board without a battery must be able to fetch the update that sets its
// clock.
func TestAttack_TransportClockAt1970(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "server", nil)
	a.issue(t, "other", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 9)} })
	srv := a.serve(t, "server", say([]byte("hello")), false)
	o := fast()
	o.CAFile, o.Now = a.path("ca.crt"), at(1970)
	if got, err := readAll(t, srv.URL, o); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	// Only the date is waived: not the CA, and not the host.
	o.CAFile = newAuthority(t).path("ca.crt")
	_, err := readAll(t, srv.URL, o)
	wantDownloadError(t, err, "unknown authority")
	o.CAFile = a.path("ca.crt")
	_, err = readAll(t, a.serve(t, "other", say(nil), false).URL, o)
	wantDownloadError(t, err, "127.0.0.9")
}

func TestAttack_TransportClockAt2099(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "server", nil)
	srv := a.serve(t, "server", say([]byte("hello")), false)
	o := fast()
	o.CAFile, o.Now = a.path("ca.crt"), at(2099)
	_, err := readAll(t, srv.URL, o)
	wantDownloadError(t, err, "seems expired", "2099-01-01", "http://")
}

// A clock that is possible, but behind: refused, with the way out.
func TestAttack_TransportClockBehind(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "server", nil)
	srv := a.serve(t, "server", say([]byte("hello")), false)
	o := fast()
	o.CAFile, o.Now = a.path("ca.crt"), at(2025)
	_, err := readAll(t, srv.URL, o)
	wantDownloadError(t, err, "not yet valid", "2025-01-01", "set it")
}

func TestAttack_TransportDowngrade(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "server", nil)
	plain := newServer(t, []byte("hello"))
	srv := a.serve(t, "server", http.RedirectHandler(plain.URL, http.StatusFound), false)
	o := fast()
	o.CAFile = a.path("ca.crt")
	_, err := readAll(t, srv.URL, o)
	wantDownloadError(t, err, "redirect refused", "not encrypted")
	if plain.requests.Load() != 0 {
		t.Error("the plain server was asked")
	}
}

func TestTLSOnAPlainPort(t *testing.T) {
	srv := newServer(t, nil)
	_, err := readAll(t, "https"+srv.URL[len("http"):], fast())
	wantDownloadError(t, err, "http://")
	if n := srv.requests.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestHTTPSThroughAProxyThatRefuses(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	o := fast()
	o.Proxy = proxy.URL
	_, err := readAll(t, "https://updates.invalid/b.abu", o)
	wantDownloadError(t, err, "proxy answers 407", "password")
}
