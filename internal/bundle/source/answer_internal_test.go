package source

import (
	"net/http"
	"testing"
	"time"
)

// Every Content-Range that is accepted is written back as it was read.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{
		"bytes 0-0/1", "bytes 5-9/*", "bytes 0-4611686018427387902/4611686018427387903",
		"bytes 00-1/2", "bytes 1-0/2", "bytes 0-2/2", "bytes */5", "bytes 0-0/1 ", "items 0-0/1", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange(s)
		if err != nil {
			return
		}
		if r.String() != s {
			t.Errorf("%q came back as %q", s, r)
		}
		if r.start < 0 || r.end <= r.start || r.total >= 0 && r.end > r.total {
			t.Errorf("%q gives %+v", s, r)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	const date = "Thu, 01 Jan 1970 00:00:00 GMT"
	for _, tc := range []struct {
		after, date string
		want        time.Duration
	}{
		{"", date, 0},
		{"0", date, 0},
		{"120", date, 2 * time.Minute},
		{"4611686018427387903", date, 365 * 24 * time.Hour},
		{"-1", date, 0},
		{"soon", date, 0},
		{"Thu, 01 Jan 1970 00:01:00 GMT", date, time.Minute},
		{"Thu, 01 Jan 1970 00:01:00 GMT", "", 0},
		{"Wed, 31 Dec 1969 23:59:59 GMT", date, 0},
	} {
		h := http.Header{"Retry-After": {tc.after}, "Date": {tc.date}}
		if got := retryAfter(h); got != tc.want {
			t.Errorf("%q at %q: %v, want %v", tc.after, tc.date, got, tc.want)
		}
	}
}

func TestIdentity(t *testing.T) {
	const date = "Thu, 01 Jan 1970 00:00:10 GMT"
	for _, tc := range []struct{ etag, lastModified, want string }{
		{`"a"`, "", `"a"`},
		{`"a"`, "Thu, 01 Jan 1970 00:00:00 GMT", `"a"`},
		{`W/"a"`, "", ""},
		{`W/"a"`, "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"},
		{`a`, "", ""},
		{`"`, "", ""},
		{"", "Thu, 01 Jan 1970 00:00:10 GMT", ""}, // may change again in this second
		{"", "Thu, 01 Jan 1970 00:00:11 GMT", ""},
		{"", "yesterday", ""},
	} {
		h := http.Header{"Etag": {tc.etag}, "Last-Modified": {tc.lastModified}, "Date": {date}}
		if got := identify(h, 5).validator(); got != tc.want {
			t.Errorf("%q, %q: validator %q, want %q", tc.etag, tc.lastModified, got, tc.want)
		}
	}
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	o := Options{RetryDelay: time.Second, MaxRetryDelay: 30 * time.Second}
	for n, most := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 30, 7: 30, 1000: 30} {
		most *= time.Second
		if d := o.backoff(n); d > most || d < most/2 {
			t.Errorf("backoff(%d) = %v, want %v to %v", n, d, most/2, most)
		}
	}
}
