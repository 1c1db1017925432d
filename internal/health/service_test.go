package health

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nameServer starts a server on loopback that answers each query.
func nameServer(t *testing.T, answer func(query []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo([]byte("noise"), from)
			conn.WriteTo(answer(buf[:n]), from)
		}
	}()
	return conn.LocalAddr().String()
}

func TestNameServerAnswers(t *testing.T) {
	refused := nameServer(t, func(q []byte) []byte {
		q[2] |= 0x80
		q[3] = 5
		return q
	})
	if err := askNameServer(t.Context(), refused); err != nil {
		t.Errorf("a refusal is an answer: %v", err)
	}
	// Something listens and does not answer our query.
	other := nameServer(t, func(q []byte) []byte { return q })
	ctx, cancel := timeout(t, 100)
	defer cancel()
	if err := askNameServer(ctx, other); err == nil {
		t.Error("an echo is no answer")
	}
	// Nobody listens: ICMP says so at once.
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	ctx, cancel = timeout(t, 2000)
	defer cancel()
	if err := askNameServer(ctx, closed.LocalAddr().String()); err == nil {
		t.Error("nobody answered")
	}
}

func TestNameServers(t *testing.T) {
	conf := "# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # two\nnameserver\n" +
		"nameserver 192.0.2.3\nnameserver 192.0.2.4\n"
	want := []string{"192.0.2.1", "2001:db8::1", "192.0.2.3"}
	if got := nameServers(conf); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	empty := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, empty, "# none\n")
	for _, conf := range []string{empty, empty + ".missing"} {
		if r := onHost(t, "dns", host{resolvConf: conf}); r[0].OK || !strings.Contains(r[0].Detail, "resolv.conf") {
			t.Errorf("%+v", r)
		}
	}
}

func TestName(t *testing.T) {
	if r := onHost(t, "dns:localhost", realHost()); !r[0].OK {
		t.Errorf("%+v", r)
	}
}

func TestEndpoints(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			io.WriteString(w, "fine")
		case "/elsewhere":
			http.Redirect(w, r, "http://updates.invalid/", http.StatusFound)
		case "/hangs":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	plain, tls := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer tls.Close()
	tcp := "tcp" + strings.TrimPrefix(plain.URL, "http")
	for spec, want := range map[string]string{
		plain.URL + "/ok":        "+answers 200",
		plain.URL + "/elsewhere": "+answers 302",
		plain.URL + "/broken":    "-answers 503 Service Unavailable",
		tls.URL + "/ok":          "+answers 200", // with a certificate of its own making
		tcp:                      "+accepts connections",
		"tcp://127.0.0.1:1":      "-",
		"http://127.0.0.1:1/":    "-",
	} {
		r := onHost(t, spec, host{})[0]
		if r.OK != (want[0] == '+') || !strings.Contains(r.Detail, want[1:]) {
			t.Errorf("%s: %+v, want %s", spec, r, want)
		}
	}
	check, err := ParseCheck(plain.URL + "/hangs")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := timeout(t, 50)
	defer cancel()
	c := &Checker{options: Options{Timeout: defaultTimeout}}
	if r := c.run(ctx, check); r[0].OK {
		t.Errorf("%+v", r)
	}
}

// systemctlSaying returns a host whose systemctl prints text and exits.
func systemctlSaying(t *testing.T, text string, exit int) host {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "systemctl")
	write(t, path+".txt", text)
	write(t, path, fmt.Sprintf("#!/bin/sh\ncat %s.txt\nexit %d\n", path, exit))
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return host{systemdRun: dir, systemctl: []string{dir + "/none", path}}
}

func TestSystemdState(t *testing.T) {
	for _, tc := range []struct {
		spec, says string
		exit       int
		ok         bool
		detail     string
	}{
		{"started", "running\n", 0, true, "running"},
		{"started", "degraded\n", 1, true, "degraded"},
		{"started", "starting\n", 1, false, "starting"},
		{"started", "initializing\n", 1, false, "initializing"},
		{"started", "maintenance\n", 1, false, "maintenance"},
		{"started", "stopping\n", 1, false, "stopping"},
		{"started", "Failed to get D-Bus connection\n", 1, false, "Failed"},
		{"started", "", 1, false, "exit status 1"},
		{"unit:sshd.service", "active\n", 0, true, "active"},
		{"unit:sshd.service", "activating\n", 3, false, "activating"},
		{"unit:sshd.service", "failed\n", 3, false, "failed"},
		{"unit:sshd.service", "", 1, false, "exit status 1"},
	} {
		r := onHost(t, tc.spec, systemctlSaying(t, tc.says, tc.exit))[0]
		if r.OK != tc.ok || !strings.Contains(r.Detail, tc.detail) {
			t.Errorf("%s, %q: %+v", tc.spec, tc.says, r)
		}
	}
}

func TestUnits(t *testing.T) {
	// systemd 219 (EL7) and 252.
	list := "● kdump.service loaded failed failed Crash recovery kernel arming\n" +
		"  tmp-x\\x2dy.mount loaded failed failed /tmp/x-y\n× evil\x1b.service loaded failed failed x\n\n"
	var got []string
	for _, r := range onHost(t, "units", systemctlSaying(t, list, 0)) {
		got = append(got, fmt.Sprintf("%s %v", r.Name, r.OK))
	}
	want := []string{"units true", "units:kdump.service false", `units:tmp-x\x2dy.mount false`, "units:evil .service false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if r := onHost(t, "units", systemctlSaying(t, "", 0)); len(r) != 1 || !r[0].OK {
		t.Errorf("%+v", r)
	}
	if r := onHost(t, "units", systemctlSaying(t, "Failed to list units: no bus\n", 1)); len(r) != 1 || r[0].OK {
		t.Errorf("%+v", r)
	}
}

func TestWithoutSystemd(t *testing.T) {
	h := host{systemdRun: filepath.Join(t.TempDir(), "none")}
	for spec, want := range map[string]bool{"started": true, "units": true, "unit:sshd.service": false} {
		if r := onHost(t, spec, h); len(r) != 1 || r[0].OK != want || r[0].Detail != noSystemd {
			t.Errorf("%s: %+v", spec, r)
		}
	}
	h.systemdRun = t.TempDir() // systemd, but no systemctl
	for _, spec := range []string{"started", "units", "unit:sshd.service"} {
		if r := onHost(t, spec, h); r[0].OK {
			t.Errorf("%s: %+v", spec, r)
		}
	}
}
