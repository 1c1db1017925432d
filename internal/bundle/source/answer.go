package source

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// errChanged says that the server has another file than before.
var errChanged = errors.New("the file on the server changed while it was being read (start again)")

// errNoBytes says that the server's file ends before the offset asked for.
var errNoBytes = errors.New("the file has no bytes")

// fault is a failed attempt that is worth another one.
type fault struct {
	err   error
	after time.Duration // what the server asks for in Retry-After; 0: nothing
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// answer is a response that passed all checks: its body is the bytes
// [start, end) of the file id. end is -1 when the server does not say.
type answer struct {
	id         identity
	start, end int64
	partial    bool   // a 206
	ranges     string // Accept-Ranges: "bytes", "none" or nothing
}

// readAnswer checks a response to a request for everything from off on.
// ranged says whether that request carried a Range header.
func readAnswer(resp *http.Response, off int64, ranged bool) (answer, error) {
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPartialContent && ranged:
	default:
		return answer{}, statusError(resp, off)
	}
	// We ask for identity only. A body encoded on the way has other offsets.
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return answer{}, fmt.Errorf("the server sends the file with Content-Encoding %q: switch that off for bundles", enc)
	}
	if resp.StatusCode == http.StatusOK {
		return answer{
			id:    identify(resp.Header, resp.ContentLength),
			start: 0, end: resp.ContentLength,
			ranges: strings.ToLower(resp.Header.Get("Accept-Ranges")),
		}, nil
	}
	return readPartial(resp, off)
}

// readPartial checks a 206, RFC 9110 §15.3.7.
func readPartial(resp *http.Response, off int64) (answer, error) {
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t == "multipart/byteranges" {
		return answer{}, errors.New("the server answers one range with several")
	}
	header := resp.Header.Get("Content-Range")
	r, err := parseContentRange(header)
	if err != nil {
		return answer{}, err
	}
	if r.start != off {
		return answer{}, fmt.Errorf("asked for bytes from %d on, the server sends Content-Range %q", off, header)
	}
	if resp.ContentLength >= 0 && resp.ContentLength != r.end-r.start {
		return answer{}, fmt.Errorf("the server sends Content-Range %q with a Content-Length of %d", header, resp.ContentLength)
	}
	return answer{
		id:    identify(resp.Header, r.total),
		start: r.start, end: r.end,
		partial: true, ranges: "bytes",
	}, nil
}

// contentRange is the half-open range [start, end) of total bytes; total is
// -1 when not said.
type contentRange struct{ start, end, total int64 }

// parseContentRange reads "bytes FIRST-LAST/TOTAL" or "bytes FIRST-LAST/*",
// in the one form that RFC 9110 §14.4 allows.
func parseContentRange(s string) (contentRange, error) {
	bad := fmt.Errorf("the server sends a bad Content-Range %q", s)
	if len(s) > 80 { // "bytes " and three numbers of at most 19 digits
		return contentRange{}, bad
	}
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return contentRange{}, bad
	}
	span, totalText, ok := strings.Cut(rest, "/")
	if !ok {
		return contentRange{}, bad
	}
	firstText, lastText, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, bad
	}
	first, okFirst := parseDecimal(firstText)
	last, okLast := parseDecimal(lastText)
	total, okTotal := int64(-1), totalText == "*"
	if !okTotal {
		total, okTotal = parseDecimal(totalText)
	}
	if !okFirst || !okLast || !okTotal || last < first || total >= 0 && last >= total {
		return contentRange{}, bad
	}
	return contentRange{start: first, end: last + 1, total: total}, nil
}

// String is the header's value: parseContentRange of it gives r back.
func (r contentRange) String() string {
	if r.total < 0 {
		return fmt.Sprintf("bytes %d-%d/*", r.start, r.end-1)
	}
	return fmt.Sprintf("bytes %d-%d/%d", r.start, r.end-1, r.total)
}

// parseDecimal accepts plain digits without a leading zero, below 2^62 so that
// sums cannot overflow.
func parseDecimal(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n >= 1<<62 || strconv.FormatInt(n, 10) != s {
		return 0, false
	}
	return n, true
}

// statusError turns a refusal into words, and into a fault when asking again
// may help.
func statusError(resp *http.Response, off int64) error {
	code := resp.StatusCode
	said := fmt.Errorf("the server answers %d %s", code, http.StatusText(code))
	switch code {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: there is no bundle at this address: check it", said)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: check user, password and client certificate", said)
	case http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: the proxy wants user and password, in the proxy's URL", said)
	case http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %w from byte %d on (it says %q)", said, errNoBytes, off, resp.Header.Get("Content-Range"))
	case http.StatusPartialContent:
		return fmt.Errorf("%w, and a part was not asked for", said)
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &fault{err: said, after: retryAfter(resp.Header)}
	}
	return said
}

// retryAfter reads Retry-After (RFC 9110 §10.2.3). A date is taken relative to
// the server's own Date: our clock may stand at 1970.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if seconds, ok := parseDecimal(v); ok {
		return time.Duration(min(seconds, int64(365*24*time.Hour/time.Second))) * time.Second
	}
	then, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, then.Sub(now))
}
