package health_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/abupdate/abupdate/internal/health"
)

func names(results []health.Result) string {
	var list []string
	for _, r := range results {
		list = append(list, r.Name)
	}
	return strings.Join(list, " ")
}

// results reads "name", "-name" (failed), "wanted?", "-wanted?".
func results(words ...string) []health.Result {
	var list []health.Result
	for _, w := range words {
		r := health.Result{OK: !strings.HasPrefix(w, "-"), Required: !strings.HasSuffix(w, "?")}
		r.Name = strings.Trim(w, "-?")
		list = append(list, r)
	}
	return list
}

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		name                      string
		before, now               []string
		failed, warnings, excused string
	}{
		{"all well", []string{"a", "b?"}, []string{"a", "b?"}, "", "", ""},
		{"new failure", []string{"a", "b"}, []string{"a", "-b"}, "b", "", ""},
		{"failed before", []string{"-a", "b"}, []string{"-a", "b"}, "", "", "a"},
		{"works again", []string{"-a"}, []string{"a"}, "", "", ""},
		{"one excused, one new", []string{"-a", "b"}, []string{"-a", "-b"}, "b", "", "a"},
		{"wanted", []string{"a?"}, []string{"-a?"}, "", "a", ""},
		{"wanted failed before", []string{"-a?"}, []string{"-a?"}, "", "", "a"},
		{"came with the update", []string{"a"}, []string{"a", "-b"}, "b", "", ""},
		{"gone with the update", []string{"a", "b"}, []string{"a"}, "", "", ""},
		{"wanted before, required now", []string{"-a?"}, []string{"-a"}, "", "", "a"},
		{"another unit", []string{"-units:x?"}, []string{"-units:y?"}, "", "units:y", ""},
		{"no baseline", nil, []string{"-a"}, "a", "", ""},
		{"nothing checked", nil, nil, "", "", ""},
	} {
		v := health.Compare(health.NewBaseline(results(tc.before...)), results(tc.now...))
		if names(v.Failed) != tc.failed || names(v.Warnings) != tc.warnings || names(v.Excused) != tc.excused {
			t.Errorf("%s: %+v", tc.name, v)
		}
		if v.OK() != (tc.failed == "") {
			t.Errorf("%s: OK is %v", tc.name, v.OK())
		}
	}
}

// gate runs a Gate in fake time. good says from when on the system is well.
func gate(t *testing.T, good time.Duration, check func(ctx context.Context)) (v health.Verdict, rounds int, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		g := health.Gate{
			Interval: 5 * time.Second,
			Deadline: 10 * time.Minute,
			Report:   func(round int, _ health.Verdict) { rounds = round },
			Check: func(ctx context.Context) []health.Result {
				if check != nil {
					check(ctx)
				}
				if time.Since(start) < good {
					return results("-a")
				}
				return results("a", "-b?")
			},
		}
		var err error
		v, err = g.Wait(t.Context())
		if err != nil {
			t.Error(err)
		}
		took = time.Since(start)
	})
	return v, rounds, took
}

func TestGate(t *testing.T) {
	for _, tc := range []struct {
		name     string
		good     time.Duration
		ok       bool
		rounds   int
		min, max time.Duration
	}{
		{"well at once", 0, true, 1, 0, 0},
		{"well after a while", 42 * time.Second, true, 10, 45 * time.Second, 45 * time.Second},
		{"never well", time.Hour, false, 120, 9*time.Minute + 50*time.Second, 10 * time.Minute},
	} {
		v, rounds, took := gate(t, tc.good, nil)
		if v.OK() != tc.ok || rounds != tc.rounds || took < tc.min || took > tc.max {
			t.Errorf("%s: %v after %v and %d rounds", tc.name, v, took, rounds)
		}
	}
}

// A check that hangs until it is told to stop must not outlast the deadline.
func TestGateCheckThatHangs(t *testing.T) {
	v, rounds, took := gate(t, time.Hour, func(ctx context.Context) { <-ctx.Done() })
	if v.OK() || rounds != 1 || took != 10*time.Minute {
		t.Errorf("%v after %v and %d rounds", v, took, rounds)
	}
}

func TestGateCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		g := health.Gate{
			Interval: time.Second, Deadline: time.Hour,
			Check: func(context.Context) []health.Result { return results("-a") },
		}
		if _, err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// One bad moment must not excuse a check for the whole trial.
func TestBaselineForgetsPassingFaults(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) { writeScript(t, dir+"/required", name, body) }
	script("flaps", fmt.Sprintf("[ -e %s/once ] || { touch %s/once; exit 1; }", dir, dir))
	script("fails", "exit 1")
	script("works", "exit 0")
	c, err := health.New(health.Options{Directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Baseline(t.Context(), 3, time.Millisecond)
	if err != nil || !slices.Equal(b.Failed, []string{"required/fails"}) {
		t.Errorf("%v, %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Baseline(ctx, 1, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBaselineFitsItsRecord(t *testing.T) {
	var many []health.Result
	for i := range 1000 {
		many = append(many, health.Result{Name: fmt.Sprintf("%03d%s", i, strings.Repeat(`"`, 190))})
	}
	b := health.NewBaseline(many)
	enc := b.Encode()
	if len(enc) > 48<<10 || len(b.Failed) < 100 {
		t.Errorf("%d names in %d bytes", len(b.Failed), len(enc))
	}
	back, err := health.ParseBaseline(enc)
	if err != nil || !slices.Equal(back.Failed, b.Failed) {
		t.Errorf("%v", err)
	}
}

func TestBaselineRefused(t *testing.T) {
	for _, s := range []string{
		``, `{}`, `null`, `[]`,
		`{"formatVersion":2,"failed":[]}`,
		`{"formatVersion":1}`,
		`{"formatVersion":1,"failed":null}`,
		`{"formatVersion":1,"failed":["b","a"]}`,
		`{"formatVersion":1,"failed":["a","a"]}`,
		`{"formatVersion":1,"failed":[""]}`,
		`{"formatVersion":1,"failed":["a\u001b"]}`,
		`{"formatVersion":1,"failed":[],"more":1}`,
		`{"formatVersion":1,"formatVersion":1,"failed":[]}`,
		`{"FormatVersion":1,"failed":[]}`,
		`{"formatVersion":1,"failed":[]} `,
		`{"formatVersion":1,"failed":["` + strings.Repeat("a", 300) + `"]}`,
		strings.Repeat(" ", 49<<10),
	} {
		if _, err := health.ParseBaseline([]byte(s)); err == nil {
			t.Errorf("accepted %.80q", s)
		}
	}
}

func FuzzParseBaseline(f *testing.F) {
	f.Add([]byte(`{"formatVersion":1,"failed":[]}`))
	f.Add([]byte(`{"formatVersion":1,"failed":["default-route","units:kdump.service"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := health.ParseBaseline(data)
		if err == nil && !bytes.Equal(b.Encode(), data) {
			t.Errorf("%q came back as %q", data, b.Encode())
		}
	})
}
