package source

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// identity is what a server says about which version of a file it serves.
type identity struct {
	size         int64  // -1: not said
	etag         string // strong entity tag, or ""
	lastModified string // as sent, and only when it is a strong validator, or ""
}

// identify reads the identity off a response whose whole file has size bytes.
func identify(h http.Header, size int64) identity {
	id := identity{size: size}
	// A weak tag (W/"…") is equal for files that only mean the same
	// (RFC 9110 §8.8.3), so it cannot vouch for bytes.
	if tag := h.Get("ETag"); len(tag) >= 2 && strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`) {
		id.etag = tag
	}
	if lm := h.Get("Last-Modified"); isStrongDate(lm, h.Get("Date")) {
		id.lastModified = lm
	}
	return id
}

// isStrongDate applies RFC 9110 §8.8.2.2: a date with a resolution of one
// second vouches for bytes only if the file could not change again in that
// same second. It compares two clocks of the server, never ours.
func isStrongDate(lastModified, date string) bool {
	lm, err := http.ParseTime(lastModified)
	if err != nil {
		return false
	}
	now, err := http.ParseTime(date)
	return err == nil && now.Sub(lm) >= time.Second
}

// validator is what If-Range may carry, or "" when the server gave nothing
// that vouches for bytes.
func (id identity) validator() string {
	if id.etag != "" {
		return id.etag
	}
	return id.lastModified
}

// sameAs returns an error if now cannot be the file that id was. What one of
// the two does not say is not compared.
func (id identity) sameAs(now identity) error {
	if id.size >= 0 && now.size >= 0 && id.size != now.size {
		return fmt.Errorf("%w: its size went from %d to %d bytes", errChanged, id.size, now.size)
	}
	if id.etag != "" && now.etag != "" && id.etag != now.etag {
		return fmt.Errorf("%w: its ETag went from %q to %q", errChanged, id.etag, now.etag)
	}
	if id.etag == "" && id.lastModified != "" && now.lastModified != "" && id.lastModified != now.lastModified {
		return fmt.Errorf("%w: its Last-Modified went from %q to %q", errChanged, id.lastModified, now.lastModified)
	}
	return nil
}

// provenBy reports whether now, from a response that made no promise about
// ranges, is certainly the file that id was.
func (id identity) provenBy(now identity) bool {
	return id.validator() != "" && id.validator() == now.validator()
}
