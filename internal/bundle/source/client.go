package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
)

// maxRedirects is enough for http→https→mirror, and ends a loop soon.
const maxRedirects = 5

// newClient returns an HTTP client with no behaviour that was not asked for:
// no environment, no cookies, no transparent decompression, no Referer.
func newClient(o Options, clock *clock) (*http.Client, error) {
	proxy, err := proxyFunc(o)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := newTLSConfig(o, clock)
	if err != nil {
		return nil, err
	}
	// HTTP/1.1 alone: giving up a body costs one connection and nothing else,
	// and there is no state shared between a stalled stream and the next one.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: o.IdleTimeout}
	return &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                  proxy,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        tlsConfig,
			Protocols:              protocols,
			OnProxyConnectResponse: checkProxyAnswer,
			DisableCompression:     true,
			// A bundle takes few requests, and net/http writes to the global
			// logger when a server talks on an idle connection.
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
			ReadBufferSize:         64 << 10,
		},
	}, nil
}

func proxyFunc(o Options) (func(*http.Request) (*url.URL, error), error) {
	switch o.Proxy {
	case "":
		return o.ProxyFunc, nil
	case "none":
		return nil, nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil {
		return nil, fmt.Errorf("%w: the proxy is no URL: %w", ErrOptions, withoutURL(err))
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, fmt.Errorf("%w: proxy %s: scheme %q: use http, https or socks5", ErrOptions, displayURL(u), u.Scheme)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("%w: proxy %s: it names no host (write http://host:port)", ErrOptions, displayURL(u))
	}
	return http.ProxyURL(u), nil
}

// checkProxyAnswer judges a proxy's answer to CONNECT.
func checkProxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	said := fmt.Errorf("the proxy answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if resp.StatusCode == http.StatusProxyAuthRequired {
		return &checked{fmt.Errorf("%w: give user and password in the proxy's URL", said)}
	}
	if resp.StatusCode < 500 {
		return &checked{said}
	}
	return &checked{&fault{err: said, after: retryAfter(resp.Header)}}
}

// errRedirect says that a redirect was not followed.
var errRedirect = errors.New("redirect refused")

// checkRedirect is called before each redirect is followed.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d in a row, now to %s", errRedirect, maxRedirects, displayURL(req.URL))
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return fmt.Errorf("%w: to scheme %q", errRedirect, req.URL.Scheme)
	}
	// The address asked for said https; a server in the middle must not turn
	// that off, because it would read what is sent and served.
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme == "http" {
		return fmt.Errorf("%w: from https to %s, which is not encrypted", errRedirect, displayURL(req.URL))
	}
	// The address before may hold a token in its query.
	req.Header.Del("Referer")
	return nil
}

func newTLSConfig(o Options, clock *clock) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Time: clock.now}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%w: CA file: %w", ErrOptions, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: CA file %s holds no certificate in PEM form", ErrOptions, o.CAFile)
		}
	}
	if (o.ClientCert == "") != (o.ClientKey == "") {
		return nil, fmt.Errorf("%w: client certificate and key must be given together", ErrOptions)
	}
	if o.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("%w: client certificate %s with key %s: %w", ErrOptions, o.ClientCert, o.ClientKey, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
