package health_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/health"
)

func writeScript(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestParseCheck(t *testing.T) {
	for _, spec := range []string{
		"started", "address", "address:eth0", "address:192.0.2.1", "address:2001:db8::1", "default-route",
		"dns", "dns:updates.example.com", "units", "unit:sshd.service",
		"tcp://192.0.2.1:443", "tcp://[2001:db8::1]:443", "http://127.0.0.1/health?deep=1", "https://127.0.0.1:8443",
	} {
		if _, err := health.ParseCheck(spec); err != nil {
			t.Errorf("%s: %v", spec, err)
		}
	}
	for _, spec := range []string{
		"", " ", "Address", "address:", "address:eth0 ", "gateway", "dns:", "dns:-x", "unit:", "unit:--help", "unit:a/b", "units:x",
		"unit:a b", "tcp://192.0.2.1", "tcp://:443", "tcp://192.0.2.1:0", "tcp://192.0.2.1:65536", "tcp://192.0.2.1:443/x",
		"ftp://192.0.2.1/", "http://", "http://user:secret@192.0.2.1/", "http://192.0.2.1/#x", "http://192.0.2.1/\n", "http://192.0.2.1/ ",
		"http://%zz/", "http://192.0.2.1/" + strings.Repeat("x", 200), "unit:\xff.service", "unit:\x1b[2J.service",
	} {
		if _, err := health.ParseCheck(spec); err == nil {
			t.Errorf("accepted %q", spec)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]health.Options{
		"unknown":  {Wanted: []string{"nonsense"}},
		"twice":    {Required: []string{"dns"}, Wanted: []string{"dns"}},
		"negative": {Timeout: -1},
	} {
		if _, err := health.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDefaultsRunAnywhere(t *testing.T) {
	c, err := health.New(health.Options{Required: health.DefaultRequired(), Wanted: []string{"units"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range c.Run(t.Context()) {
		if i < 3 && (r.Name != health.DefaultRequired()[i] || !r.Required) {
			t.Errorf("%d: %+v", i, r)
		}
	}
}

func FuzzParseCheck(f *testing.F) {
	for _, s := range []string{"address", "address:eth0", "tcp://192.0.2.1:443", "https://[::1]/x?y", "unit:a.service", "dns:x"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, spec string) {
		_, _ = health.ParseCheck(spec)
	})
}
