package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

func checkTCP(address string) func(context.Context, host) (string, error) {
	return func(ctx context.Context, _ host) (string, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return "", err
		}
		return "accepts connections", conn.Close()
	}
}

// checkHTTP asks whether a service answers, not who it is: any certificate is
// good, because a service of the device itself has one of its own making and
// the clock may be wrong. Nothing that is received is used.
func checkHTTP(address string) func(context.Context, host) (string, error) {
	return func(ctx context.Context, _ host) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return "", err
		}
		req.Header.Set("User-Agent", "abupdate-health")
		client := &http.Client{
			// Straight there, and no further: a redirect is an answer too.
			Transport: &http.Transport{
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
				DisableKeepAlives: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		resp, err := client.Do(req)
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the check's name has the address already
		}
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if resp.StatusCode >= http.StatusBadRequest {
			return "", fmt.Errorf("answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		}
		return fmt.Sprintf("answers %d", resp.StatusCode), nil
	}
}
