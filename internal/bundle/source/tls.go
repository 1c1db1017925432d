package source

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// clockFloor is a moment before which this program did not exist: a clock that
// shows less is wrong (a board without a battery starts at 1970).
var clockFloor = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is the time by which TLS certificates are judged.
//
// While the system's clock is certainly wrong, the first moment at which the
// server's certificates are all valid stands in for it. Otherwise a gateway
// without a working clock could not fetch the update that repairs it. All else
// is checked as ever. What is given up: an expired certificate of the right
// host passes. That forges no bundle, whose signatures no clock decides.
type clock struct {
	system func() time.Time

	mu      sync.Mutex
	learned time.Time
}

func (c *clock) now() time.Time {
	now := c.system()
	if !now.Before(clockFloor) {
		return now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.learned.After(clockFloor) {
		return c.learned
	}
	return clockFloor
}

// learn reports whether the handshake that failed with err is worth another
// one at once, because the clock moved on to where the certificate is valid.
func (c *clock) learn(err error) bool {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		return false
	}
	if !c.system().Before(clockFloor) || !c.now().Before(invalid.Cert.NotBefore) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learned = invalid.Cert.NotBefore
	return true
}

// explainTLS adds the way out to an error of the TLS handshake. final reports
// whether asking again is useless.
func explainTLS(err error, now time.Time) (explained error, final bool) {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		today := now.UTC().Format(time.DateOnly)
		if now.Before(invalid.Cert.NotBefore) {
			return fmt.Errorf("%w: the server's certificate seems not yet valid: this device's clock says %s: set it, or use http:// or a file (a bundle is trusted for its signatures, not for its way here)", err, today), true
		}
		return fmt.Errorf("%w: the server's certificate seems expired: if this device's clock is wrong (it says %s) set it, otherwise renew the certificate; http:// or a file works too (a bundle is trusted for its signatures, not for its way here)", err, today), true
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w: if the server uses a CA of your own, set ca in the [download] section of the configuration", err), true
	}
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	if errors.As(err, &verification) || errors.As(err, &record) {
		return err, true
	}
	// crypto/tls has no type of its own for an alert that the server sent.
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return fmt.Errorf("%w: the server refuses the TLS connection: does it want a client certificate?", err), false
	}
	return err, false
}
