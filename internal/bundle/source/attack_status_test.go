package source_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/bundle/source"
)

func TestAttack_TransportStatus(t *testing.T) {
	for code, tc := range map[int]struct {
		requests int64
		says     string
	}{
		204: {1, "204 No Content"},
		304: {1, "304 Not Modified"},
		206: {1, "not asked for"},
		401: {1, "password"},
		403: {1, "client certificate"},
		404: {1, "no bundle at this address"},
		410: {1, "no bundle at this address"},
		416: {1, "416"},
		418: {1, "418"},
		408: {4, "in a row"},
		429: {4, "in a row"},
		500: {4, "in a row"},
		502: {4, "in a row"},
		503: {4, "in a row"},
		504: {4, "in a row"},
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			srv := newServer(t, nil)
			srv.spoil = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
				w.WriteHeader(code)
				return true
			}
			_, err := readAll(t, srv.URL, fast())
			wantDownloadError(t, err, strconv.Itoa(code), tc.says)
			if n := srv.requests.Load(); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

func TestTransportGoesOnAfterPassingFaults(t *testing.T) {
	data := content(200<<10, 1)
	srv := newServer(t, data)
	srv.cut = 60 << 10
	srv.spoil = func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if n%3 == 0 {
			return false
		}
		w.WriteHeader([]int{429, 500, 503}[n%3])
		return true
	}
	got, err := readAll(t, srv.URL, fast())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
}

func TestTransportObeysRetryAfter(t *testing.T) {
	srv := newServer(t, []byte("now"))
	date := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) // the server's clock, not ours
	srv.spoil = func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if n == 1 {
			w.Header().Set("Date", date.Format(http.TimeFormat))
			w.Header().Set("Retry-After", date.Add(time.Second).Format(http.TimeFormat))
			w.WriteHeader(503)
		}
		return n == 1
	}
	o := fast()
	start := time.Now()
	if _, err := readAll(t, srv.URL, o); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("came back after %v", d)
	}
}

func TestAttack_TransportRetryAfterForEver(t *testing.T) {
	for _, after := range []string{"3600", "999999999999999999", "Fri, 31 Dec 2999 23:59:59 GMT"} {
		srv := newServer(t, nil)
		srv.spoil = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(429)
			return true
		}
		_, err := readAll(t, srv.URL, fast())
		wantDownloadError(t, err, "429", "come back in")
	}
}

func TestAttack_TransportRedirectLoop(t *testing.T) {
	srv := newServer(t, nil)
	srv.spoil = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		http.Redirect(w, r, "/again?token=secret", http.StatusFound)
		return true
	}
	_, err := readAll(t, srv.URL, fast())
	wantDownloadError(t, err, "redirect refused", "more than 5")
	if n := srv.requests.Load(); n > 6 {
		t.Errorf("%d requests", n)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error tells the token: %v", err)
	}
}

func TestAttack_TransportRedirectElsewhere(t *testing.T) {
	for _, to := range []string{"file:///etc/shadow", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"} {
		srv := newServer(t, nil)
		srv.spoil = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return true
		}
		_, err := readAll(t, srv.URL, fast())
		wantDownloadError(t, err, "redirect refused")
	}
}

func TestRedirectIsFollowedWithoutReferer(t *testing.T) {
	data := content(100<<10, 1)
	target := newServer(t, data)
	target.cut = 60 << 10
	target.spoil = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if ref := r.Header.Get("Referer"); ref != "" {
			t.Errorf("Referer %q", ref)
		}
		return false
	}
	front := httptest.NewServer(http.RedirectHandler(target.URL+"/b.abu", http.StatusFound))
	defer front.Close()
	got, err := readAll(t, front.URL+"/?token=secret", fast())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, data)
}

func TestAttack_TransportBadReference(t *testing.T) {
	for _, ref := range []string{"ftp://127.0.0.1/b.abu", "http://", "https:///b.abu", "http://%zz/", "file:///b.abu"} {
		if _, err := source.Open(t.Context(), ref, nil, fast()); !errors.Is(err, source.ErrOptions) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
