package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/config"
)

func TestEmptyIsDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "[download]\n[health]\n"} {
		c, err := config.Parse("f", []byte(text))
		if err != nil || !reflect.DeepEqual(c, config.Default()) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

func TestEveryKey(t *testing.T) {
	const text = `
[download]
directory = "/data/abupdate"
proxy = "http://user:secret@proxy.example.com:3128"
ca = "/etc/pki/ca.pem"
cert = "/etc/pki/cert.pem"
key = "/etc/pki/key.pem"
limit_rate = "2MiB"
idle_timeout = "1m"
min_rate = 500
retries = 20

[trial]
tries = 5
deadline = "20m"

[health]
required = ["address:eth0", "tcp://192.0.2.1:443"]
wanted = []
directory = ""
timeout = "10s"
interval = "2s"

[watchdog]
device = ""
timeout = "2m"

[device]
compatible = "gw-2"
product = "gateway"
keyring = "/etc/pki/keyring.json"
`
	want := &config.Config{
		Download: config.Download{
			Directory: "/data/abupdate", Proxy: "http://user:secret@proxy.example.com:3128",
			CA: "/etc/pki/ca.pem", Cert: "/etc/pki/cert.pem", Key: "/etc/pki/key.pem",
			LimitRate: 2 << 20, IdleTimeout: time.Minute, MinRate: 500, Retries: 20,
		},
		Trial: config.Trial{Tries: 5, Deadline: 20 * time.Minute},
		Health: config.Health{
			Required: []string{"address:eth0", "tcp://192.0.2.1:443"}, Wanted: []string{},
			Timeout: 10 * time.Second, Interval: 2 * time.Second,
		},
		Watchdog: config.Watchdog{Timeout: 2 * time.Minute},
		Device:   config.Device{Compatible: "gw-2", Product: "gateway", Keyring: "/etc/pki/keyring.json"},
	}
	got, err := config.Parse("f", []byte(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestRefusedWithFileAndLine(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"[download]\nretires = 3\n", `/c.toml:2: unknown key "retires" in [download]: did you mean "retries"?`},
		{"\n[downloads]\nretries = 3\n", `/c.toml:2: unknown section or key "downloads": did you mean "download"?`},
		{"\nretries = 3\n", `/c.toml:2: unknown section or key "retries": there are ["device" "download" "health" "trial" "watchdog"]`},
		{"[download]\nRetries = 3\n", `/c.toml:2: unknown key "Retries" in [download]: did you mean "retries"?`},
		{"[trial]\nx = 1\n", `/c.toml:2: unknown key "x" in [trial]: there are ["deadline" "tries"]`},
		{"download.retires = 3\n", `/c.toml:1: unknown key "retires"`},
		{"\ndownload = 3\n", `/c.toml:2: "download" must be a section: write [download]`},
		{"[[download]]\nretries = 3\n", `/c.toml:1: "download" must be a section`},
		{"[trial]\ntries = 3\n\ntries = 4\n", `/c.toml:4: `},
		{"[trial]\ntries = 3\n[trial]\n", `/c.toml:3: `},
		{"[trial]\ntries 3\n", `/c.toml:2: `},
		{"[trial]\ntries = 0\n", `/c.toml:2: tries: 0 must be between 1 and 9`},
		{"[trial]\ntries = 10\n", `/c.toml:2: tries: 10 must be between 1 and 9`},
		{"[trial]\ntries = \"3\"\n", `/c.toml:2: tries: must be a whole number`},
		{"[trial]\ntries = 3.0\n", `/c.toml:2: tries: must be a whole number`},
		{"[trial]\n\ndeadline = 600\n", `/c.toml:3: deadline: must be text in quotes`},
		{"[trial]\n\ndeadline = \"10\"\n", `/c.toml:3: deadline: "10" is no duration`},
		{"[trial]\n\ndeadline = \"-10m\"\n", `/c.toml:3: deadline: "-10m" must be between`},
		{"[trial.deadline]\nx = 1\n", `/c.toml:1: deadline: must be text in quotes`},
		{"[download]\nca = \"ca.pem\"\n", `/c.toml:2: ca: "ca.pem" must be a path`},
		{"[download]\nca = \"/etc/../ca.pem\"\n", `/c.toml:2: ca: `},
		{"[download]\ndirectory = \"\"\n", `/c.toml:2: directory: `},
		{"[download]\nlimit_rate = \"fast\"\n", `/c.toml:2: limit_rate: "fast" is no number of bytes`},
		{"[download]\nlimit_rate = -1\n", `/c.toml:2: limit_rate: -1 bytes are out of range`},
		{"[download]\nlimit_rate = true\n", `/c.toml:2: limit_rate: must be a number of bytes`},
		{"[download]\nlimit_rate = \"9999999999999999999GiB\"\n", `/c.toml:2: limit_rate: `},
		{"[download]\nmin_rate = 0\n", `/c.toml:2: min_rate: 0 bytes are out of range`},
		{"[download]\nproxy = \"proxy.example.com:3128\"\n", `/c.toml:2: proxy: must be`},
		{"[download]\ncert = \"/c.pem\"\n", `/c.toml: [download] cert and key must be given together`},
		{"[health]\nrequired = \"address\"\n", `/c.toml:2: required: must be a list`},
		{"[health]\nrequired = [1]\n", `/c.toml:2: required: must be a list of texts`},
		{"[health]\nrequired = [\n  \"address\",\n  \"gateway\",\n]\n", `/c.toml:2: required: health check "gateway"`},
		{"[health]\nrequired = [\"dns\"]\n", `/c.toml: [health] health check "dns" is given twice`},
		{"[health]\ninterval = \"30m\"\n", `/c.toml: [health] interval (30m0s) must be shorter`},
		{"\x00", `/c.toml:1: `},
		{strings.Repeat("#", 1<<20+1), `/c.toml: longer than`},
	} {
		_, err := config.Parse("/c.toml", []byte(tc.text))
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%.80q:\n got %v\nwant %s", tc.text, err, tc.want)
		}
	}
}

// A message may land in a log that others read.
func TestRefusedProxyIsNotShown(t *testing.T) {
	_, err := config.Parse("f", []byte("[download]\nproxy = \"user:secret@proxy\"\n"))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if _, err := config.Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(path, []byte("[trial]\ntries = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil || c.Trial.Tries != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := config.Load(filepath.Dir(path)); err == nil {
		t.Error("loaded a directory")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "[download]\nretries = 3\n", "[health]\nrequired = [\"address\"]\n", "download.ca = ''\n", "[[trial]]\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse("f", text)
		if (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("no file in %q", err)
		}
		if c != nil && (c.Trial.Tries < 1 || c.Trial.Tries > 9 || c.Download.Retries < 1 || c.Download.MinRate < 1) {
			t.Errorf("out of range: %+v", c)
		}
	})
}
