package rescue

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openSSH runs a program of OpenSSH.
func openSSH(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%v (apt-get install openssh-client)", err)
	}
	return string(out), err
}

// keys makes the host keys of an old system and the keys of two people.
func keys(t *testing.T) (dir string, host [][]byte) {
	t.Helper()
	dir = t.TempDir()
	for _, k := range [][]string{
		{"host_ed25519", "ed25519"}, {"host_rsa", "rsa", "-b", "2048", "-m", "PEM"}, {"host_ecdsa", "ecdsa"}, {"admin", "ed25519"}, {"other", "ed25519"},
	} {
		path := filepath.Join(dir, k[0])
		if out, err := openSSH(t, "ssh-keygen", append([]string{"-q", "-N", "", "-C", k[0], "-f", path, "-t"}, k[1:]...)...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if strings.HasPrefix(k[0], "host") {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			host = append(host, b)
		}
	}
	return dir, host
}

func public(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestServe lets OpenSSH talk to it: the host key is the known one, the right
// key gets in, and nobody gets more than an answer.
func TestServe(t *testing.T) {
	dir, host := keys(t)
	authorized := append([]byte("# the administrator's\n\nssh-rsa AAAA damaged\n"), public(t, dir, "admin")...)
	config, err := Config(append(host, []byte("no key")), authorized)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go Serve(l, config, func(command string) (string, uint32) {
		if command == "status" {
			return "it stands so\n", 0
		}
		return "what? " + command + "\n", 2
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, append([]byte("[127.0.0.1]:"+port+" "), public(t, dir, "host_ed25519")...), 0o600); err != nil {
		t.Fatal(err)
	}
	ssh := func(user, key string, command ...string) (string, error) {
		return openSSH(t, "ssh", append([]string{
			"-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=ssh-ed25519",
			"-o", "UserKnownHostsFile=" + known, "-i", filepath.Join(dir, key), "-p", port, user + "@127.0.0.1",
		}, command...)...)
	}
	if out, err := ssh("root", "admin", "status"); err != nil || !strings.Contains(out, "it stands so") {
		t.Errorf("status: %v, %s", err, out)
	}
	if out, err := ssh("root", "admin", "sh", "-c", "id"); err == nil || !strings.Contains(out, "what? sh -c id") {
		t.Errorf("a shell command: %v, %s", err, out)
	}
	if out, err := ssh("root", "admin"); err == nil || !strings.Contains(out, "what? help") {
		t.Errorf("no command: %v, %s", err, out)
	}
	for _, who := range [][2]string{{"root", "other"}, {"operator", "admin"}} {
		if out, err := ssh(who[0], who[1], "status"); err == nil || strings.Contains(out, "it stands so") {
			t.Errorf("%s with the key %s got in: %s", who[0], who[1], out)
		}
	}
	if out, err := ssh("root", "admin", "-o", "x"); err == nil {
		t.Errorf("%s", out)
	}
}

func TestConfigRefuses(t *testing.T) {
	dir, host := keys(t)
	admin := public(t, dir, "admin")
	if _, err := Config(nil, admin); err == nil {
		t.Error("without a host key")
	}
	if _, err := Config([][]byte{[]byte("DSA")}, admin); err == nil {
		t.Error("without a usable host key")
	}
	for name, authorized := range map[string][]byte{
		"none":             nil,
		"only a comment":   []byte("# nobody\n"),
		"a forced command": append([]byte(`command="/bin/backup" `), admin...),
		"from one network": append([]byte(`from="10.0.0.0/8",no-pty `), admin...),
		"an authority":     append([]byte("cert-authority "), admin...),
		"garbage":          bytes.Repeat([]byte{0xFF, '\n'}, 1000),
	} {
		if _, err := Config(host, authorized); err == nil {
			t.Errorf("%s: somebody would get in", name)
		}
	}
}
