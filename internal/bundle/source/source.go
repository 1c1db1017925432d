// Package source reads a bundle from where it lies: a file, standard input or
// an HTTP(S) server.
//
// Invariant: one stream never mixes bytes of two versions of a file. A server
// whose file changed under us, or of which we cannot tell, ends the stream
// with ErrDownload. Beyond that nothing is trusted for its way here, TLS
// included: what the bytes are worth is decided by the signatures inside the
// bundle.
//
// Start with Open. Download fetches to a file instead.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// ErrDownload says that a server or the network failed: the same command may
// succeed later. A cancelled context is not ErrDownload, nor is a local error.
var ErrDownload = errors.New("download failed")

// ErrOptions says that the reference or the options cannot be used: an
// unreadable CA file, a proxy that is no URL, an unknown scheme.
var ErrOptions = errors.New("bad download setting")

// A Source is one bundle. Its streams are independent of each other, but only
// one goroutine may use one stream.
type Source interface {
	// Open returns a stream that begins off bytes into the bundle. ctx bounds
	// the life of the stream, not only the call.
	Open(ctx context.Context, off int64) (Stream, error)
	// Size returns the length of the bundle, or -1 while it is not known: a
	// server tells it when the first stream is opened.
	Size() int64
	// Rewindable reports whether Open may be called more than once.
	Rewindable() bool
	// Fetched returns how many bytes have been read from the source so far by
	// all streams, those included that were only read to get past them.
	Fetched() int64
	// Name is the source as to show it to a user: without password and query,
	// which may hold an access token.
	Name() string
	io.Closer
}

// A Stream reads a bundle front to back.
type Stream interface {
	io.ReadCloser
	// Discard passes over n bytes, without fetching them where that pays. Passing
	// the end is an error, though perhaps only of the next Read.
	Discard(n int64) error
}

// A Ranger is a Source whose streams can be told what will be read of them, so
// that nothing else is fetched.
type Ranger interface {
	Source
	// OpenRanges is Open for a stream that will be read only in ranges, which
	// are sorted and apart; see Planned.
	OpenRanges(ctx context.Context, ranges []Range) (Planned, error)
	// HasRanges reports whether the server is known to have ranges.
	HasRanges() bool
	// Reread reads n bytes at off again that did not arrive as they are: a cache
	// on the way or the line may garble them. It tries a few times, until good
	// says that they are right, and is an ErrDownload then.
	Reread(ctx context.Context, off int64, n int, good func([]byte) bool) ([]byte, error)
}

// A Range is the bytes [Off, End) of a bundle.
type Range struct{ Off, End int64 }

// Planned is a stream that fetches each range of its plan by one request, and
// nothing between them. What lies outside of all ranges is fetched with
// everything behind it, as by a stream without a plan.
type Planned interface {
	Stream
	// Plan replaces the plan.
	Plan(ranges []Range)
}

// Open opens the bundle that ref names: a path, "-" for stdin, or an address
// that begins with http:// or https://. It talks to no server yet.
func Open(ctx context.Context, ref string, stdin io.Reader, o Options) (Source, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ref == "-" {
		return newPipe(stdin, "standard input", nil), nil
	}
	if IsURL(ref) {
		u, err := parseURL(ref)
		if err != nil {
			return nil, err
		}
		return newHTTP(u, o)
	}
	return openFile(ref)
}

// IsURL tells an address from a path by its "scheme://". A file of such a
// name can still be given as ./scheme://….
func IsURL(ref string) bool {
	scheme, _, found := strings.Cut(ref, "://")
	return found && !strings.ContainsAny(scheme, "/.")
}

func parseURL(ref string) (*url.URL, error) {
	u, err := url.Parse(ref)
	if err != nil {
		// url.Error repeats the address, which may hold a password.
		return nil, fmt.Errorf("%w: the bundle's address is no URL: %w", ErrOptions, withoutURL(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: %s: scheme %q: give a path, -, http:// or https://", ErrOptions, displayURL(u), u.Scheme)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("%w: %s: the address names no host", ErrOptions, displayURL(u))
	}
	u.Fragment = ""
	return u, nil
}

// displayURL leaves out what may be secret: user, password and query.
func displayURL(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.RawQuery != "" {
		return shown.String() + "?…"
	}
	return shown.String()
}

// withoutURL takes the address off an error of net/url or net/http.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}
