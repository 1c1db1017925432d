//go:build qemu

package qemu

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	appliance "github.com/abupdate/abupdate/images/gateway"
	"github.com/abupdate/abupdate/test/qemu/vm"
)

// The gateway suite proves the systemd units on the realistic appliance:
// abupdate is installed from its RPM, and nothing but systemd runs it.

// gatewayRelease is a version of the appliance.
type gatewayRelease struct {
	version string
	healthy bool
	files   map[string][]byte
	dressed appliance.Release // EL7 if zero
	alter   func(tree string) error
}

// unitReleases are those that try the units.
var unitReleases = []gatewayRelease{
	{version: "1.0.0", healthy: true},
	{version: "2.0.0", healthy: true},
	{version: "3.0.0", healthy: false},
	// A root filesystem that cannot be mounted as fstab wants: systemd ends in
	// emergency.target, at a prompt.
	{version: "4.0.0", healthy: true, files: map[string][]byte{
		"/etc/fstab": []byte("/dev/disk/by-label/missing /srv ext4 x-systemd.device-timeout=3s 0 2\n"),
	}},
	// Nobody decides the trial: the deadline does.
	{version: "5.0.0", healthy: true, files: map[string][]byte{
		"/etc/systemd/system/abupdate-health.service.d/never.conf":  []byte("[Unit]\nConditionPathExists=/never\n"),
		"/etc/systemd/system/abupdate-deadline.timer.d/sooner.conf": []byte("[Timer]\nOnBootSec=\nOnBootSec=40s\n"),
	}},
}

// gatewayConfig shortens the time that an unhealthy system gets. A busy host
// needs more than a minute until systemd has started everything.
const gatewayConfig = `[trial]
deadline = "150s"
`

// gatewayRig is the vendor's side of the realistic appliance, and one machine.
type gatewayRig struct {
	t        *testing.T
	releases []gatewayRelease
	guest    string // the gateway's address
	dir      string
	agent    string
	rpm      string
	login    ssh.Signer
	server   *httptest.Server
	machine  *vm.Machine
}

func newGatewayRig(t *testing.T, releases []gatewayRelease) *gatewayRig {
	t.Helper()
	turn(t)
	r := &gatewayRig{t: t, releases: releases, guest: appliance.Address, dir: t.TempDir()}
	r.command(repo, "make", "-s", "rpm", "VERSION=v0.0.1-qemu")
	r.agent = filepath.Join(repo, "build/abupdate")
	r.rpm = filepath.Join(repo, "build/abupdate-0.0.1~qemu-1.x86_64.rpm")
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if r.login, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	r.abupdate("keyring", "create", "--keyring", "keyring.json")
	r.abupdate("keyring", "add", "--keyring", "keyring.json", "--generate", "key.pem")
	r.abupdate("bundle", "boot-image", "--grub-dir", "/usr/lib/grub", "--firmware", "both", "--out", "boot.tar")
	r.server = httptest.NewServer(http.FileServer(http.Dir(r.dir)))
	t.Cleanup(r.server.Close)
	return r
}

func (r *gatewayRig) command(dir, name string, args ...string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// abupdate runs the agent on the host, in the rig's directory.
func (r *gatewayRig) abupdate(args ...string) {
	r.t.Helper()
	r.command(r.dir, r.agent, args...)
}

// bundle makes the bundle of a release, VERSION.abu.
func (r *gatewayRig) bundle(version string) {
	r.t.Helper()
	for _, rel := range r.releases {
		if rel.version != version {
			continue
		}
		files := map[string][]byte{"/etc/abupdate/config.toml": []byte(gatewayConfig)}
		for path, data := range rel.files {
			files[path] = data
		}
		image := filepath.Join(r.dir, version+".img")
		cache := filepath.Join(filepath.Dir(r.agent), "cache")
		err := appliance.Build(r.t.Context(), cache, appliance.Options{
			Version: version, Healthy: rel.healthy, RPM: r.rpm, Files: files, Release: cmp.Or(rel.dressed, appliance.EL7), Alter: rel.alter,
			AuthorizedKey: string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(r.login.PublicKey()))),
		}, image)
		if err != nil {
			r.t.Fatal(err)
		}
		r.abupdate("bundle", "create", "--rootfs", image, "--boot", "boot.tar", "--product", "gateway", "--version", version,
			"--compatible", "example-gateway", "--kernel-args", appliance.KernelArgs, "--key", "key.pem", "--level", "1", "--out", version+".abu")
		if err := os.Remove(image); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	r.t.Fatalf("internal error: no release %s", version)
}

// start makes the factory disk of a release and switches the machine on. It
// may be found at further addresses.
func (r *gatewayRig) start(version string, guests ...string) {
	r.t.Helper()
	r.bundle(version)
	r.abupdate("image", "create", "--bundle", version+".abu", "--keyring", "keyring.json", "--compatible", "example-gateway",
		"--firmware", "bios", "--size", "1200MiB", "--slot-size", "400MiB", "--out", "gateway.img")
	m, err := vm.Start(r.t.Context(), vm.Config{
		Firmware: vm.BIOS, Disks: []vm.Disk{{Path: filepath.Join(r.dir, "gateway.img")}},
		Forward: []int{22}, Guests: guests, LogDir: logDir(r.t),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.machine = m
	r.t.Cleanup(func() { m.Close() })
	m.Console.Never(`grub( rescue)?> |Press any key`)
}

// boots waits for the next start of a system and checks which one it is.
func (r *gatewayRig) boots(version, slot, why string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	got, err := r.machine.Console.Expect(ctx, `gateway: version=(\S*) slot=(\S*) why=(\S*) root=(\S*)`)
	if err != nil {
		r.t.Fatal(err)
	}
	if got[1] != version || got[2] != slot || got[3] != why {
		r.t.Fatalf("started version %s from slot %s (%s), want version %s from slot %s (%s)", got[1], got[2], got[3], version, slot, why)
	}
}

// ssh logs in as an administrator would, with the device's own key and
// address, and runs a command there.
func (r *gatewayRig) ssh(command string) string {
	r.t.Helper()
	address, err := r.machine.AddressAt(r.t.Context(), r.guest, 22)
	if err != nil {
		r.t.Fatal(err)
	}
	var out string
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
		if out, err = runSSH(address, r.login, command); err == nil {
			return out
		}
		var exit *ssh.ExitError
		if errors.As(err, &exit) || time.Now().After(deadline) {
			r.t.Fatalf("ssh: %s: %v\n%s", command, err, out)
		}
	}
}

// runSSH runs one command. An ExitError is the command's, any other error the
// connection's.
func runSSH(address string, login ssh.Signer, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return "", err
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(login)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // a virtual machine behind our own loopback port
	})
	if err != nil {
		return "", err
	}
	client := ssh.NewClient(c, chans, reqs)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	return string(out), err
}

// apply updates over HTTP from inside the gateway.
func (r *gatewayRig) apply(version string) {
	r.t.Helper()
	r.bundle(version)
	_, port, err := net.SplitHostPort(r.server.Listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	began := time.Now()
	out := r.ssh(fmt.Sprintf("abupdate apply http://%s/%s.abu", net.JoinHostPort(vm.HostAddress, port), version))
	r.t.Logf("apply %s: %.0f s\n%s", version, time.Since(began).Seconds(), out)
	if s := r.status(); s.Phase != "written" {
		r.t.Fatalf("after apply the phase is %s, want written", s.Phase)
	}
}

type gatewayStatus struct {
	Booted    string `json:"booted"`
	Committed bool   `json:"committed"`
	Next      string `json:"next"`
	Phase     string `json:"phase"`
	Slots     map[string]struct {
		Version   string `json:"version"`
		State     string `json:"state"`
		TriesLeft int    `json:"triesLeft"`
	} `json:"slots"`
}

func (r *gatewayRig) status() (s gatewayStatus) {
	r.t.Helper()
	out := r.ssh("abupdate status --json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		r.t.Fatalf("abupdate status --json: %v\n%s", err, out)
	}
	return s
}

// committed waits until the health service has committed the running slot.
func (r *gatewayRig) committed() {
	r.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(2 * time.Second) {
		s := r.status()
		if s.Committed {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("slot %s was not committed: %+v\n%s", s.Booted, s, r.ssh("journalctl -b -u abupdate-health --no-pager"))
		}
	}
}

// reboot is what an administrator does: abupdate is not asked.
func (r *gatewayRig) reboot() {
	r.t.Helper()
	r.ssh("systemd-run --no-block systemctl reboot")
}

func TestGatewayUnits(t *testing.T) {
	t.Parallel()
	r := newGatewayRig(t, unitReleases)
	r.start("1.0.0")
	r.boots("1.0.0", "a", "good")

	t.Log("apply over HTTP, then a reset before the orderly shutdown: the running slot boots")
	r.apply("2.0.0")
	if err := r.machine.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.boots("1.0.0", "a", "good")
	if s := r.status(); s.Phase != "written" || s.Next != "a" {
		t.Fatalf("after the reset: %+v, want phase written and next a", s)
	}

	t.Log("the orderly shutdown carries what was configured last, and arms; the health service commits")
	r.ssh("echo '192.0.2.7 printer' >>/etc/hosts")
	r.reboot()
	r.boots("2.0.0", "b", "trial")
	r.committed()
	r.ssh("grep printer /etc/hosts")
	if s := r.status(); s.Booted != "b" || s.Phase != "idle" || s.Slots["b"].State != "good" || s.Slots["a"].State != "good" {
		t.Fatalf("after the commit: %+v", s)
	}
	if failed := r.ssh("systemctl --failed --no-legend --plain"); failed != "" {
		t.Errorf("units that failed:\n%s", failed)
	}

	t.Log("a system that fails its health check goes back by itself")
	r.apply("3.0.0")
	r.reboot()
	r.boots("3.0.0", "a", "trial")
	r.boots("2.0.0", "b", "good")
	if s := r.status(); s.Slots["a"].State != "bad" || s.Slots["a"].TriesLeft != 0 || s.Phase != "idle" {
		t.Fatalf("after the failed trial: %+v", s)
	}
}
