package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// rauc installs through its service, which it needs a system bus for: one of
// our own, so that nothing of this machine is touched.
func (b *bench) rauc() (contestant, func(), error) {
	c := contestant{name: "rauc", command: "rauc install v1.raucb", needs: []string{"rauc", "dbus-daemon/dbus", "mksquashfs/squashfs-tools", "openssl", "losetup/mount"}}
	if c.missing() != "" {
		return c, nil, nil
	}
	bundle, err := b.raucBundle()
	if err != nil {
		return c, nil, err
	}
	device, err := b.loopSlot("rauc.slot", b.image("v2"))
	if err != nil {
		return c, nil, err
	}
	r := &raucService{b: b, socket: "unix:path=" + b.path("bus")}
	if err := r.configure(device); err != nil {
		return c, nil, err
	}
	c.prepare = func() error {
		r.stop()
		if err := refill(device, 0, b.image("v2")); err != nil {
			return err
		}
		return r.start()
	}
	c.run = func() (usage, error) { return r.install(bundle) }
	c.check = func() error { return same(device, 0, b.image("v1")) }
	return c, func() { r.stop(); b.detach(device) }, nil
}

// raucBundle makes a bundle in rauc's plain format, with its default
// compression.
func (b *bench) raucBundle() (string, error) {
	out := b.path("v1.raucb")
	if exists(out) {
		return out, nil
	}
	if err := b.certificate(); err != nil {
		return "", err
	}
	dir := b.path("raucb")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	manifest := "[update]\ncompatible=bench\nversion=2.0.0\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=v1.img\n"
	if err := os.WriteFile(dir+"/manifest.raucm", []byte(manifest), 0o644); err != nil {
		return "", err
	}
	if err := b.do("cp", "--sparse=always", b.image("v1"), dir+"/v1.img"); err != nil {
		return "", err
	}
	return out, b.do("rauc", "--cert="+b.path("cert.pem"), "--key="+b.path("cert.key"), "bundle", dir, out)
}

// certificate makes the self-signed certificate that the peers' bundles are
// signed with.
func (b *bench) certificate() error {
	if exists(b.path("cert.pem")) {
		return nil
	}
	return b.do("openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "3650", "-subj", "/O=bench/CN=bench",
		"-addext", "extendedKeyUsage=emailProtection,codeSigning", "-keyout", b.path("cert.key"), "-out", b.path("cert.pem"))
}

// raucService is rauc's daemon on a bus of its own.
type raucService struct {
	b         *bench
	socket    string
	bus, rauc *exec.Cmd
}

func (r *raucService) configure(device string) error {
	bus := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>` + r.socket + `</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`
	system := fmt.Sprintf("[system]\ncompatible=bench\nbootloader=noop\nstatusfile=%s\nmountprefix=%s\n[keyring]\npath=%s\n"+
		"[slot.rootfs.0]\ndevice=/dev/null\ntype=raw\nbootname=A\n[slot.rootfs.1]\ndevice=%s\ntype=raw\nbootname=B\n",
		r.b.path("rauc.status"), r.b.path("rauc.mnt"), r.b.path("cert.pem"), device)
	if err := os.MkdirAll(r.b.path("rauc.mnt"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(r.b.path("bus.conf"), []byte(bus), 0o644); err != nil {
		return err
	}
	return os.WriteFile(r.b.path("system.conf"), []byte(system), 0o644)
}

func (r *raucService) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.b.ctx, name, args...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+r.socket)
	return cmd
}

func (r *raucService) start() error {
	_ = os.Remove(r.b.path("bus"))
	_ = os.Remove(r.b.path("rauc.status"))
	r.bus = r.command("dbus-daemon", "--nofork", "--nopidfile", "--config-file="+r.b.path("bus.conf"))
	if err := r.bus.Start(); err != nil {
		return err
	}
	for !exists(r.b.path("bus")) {
		time.Sleep(10 * time.Millisecond)
	}
	r.rauc = r.command("rauc", "--conf="+r.b.path("system.conf"), "--override-boot-slot=A", "service")
	var out bytes.Buffer
	r.rauc.Stdout, r.rauc.Stderr = &out, &out
	if err := r.rauc.Start(); err != nil {
		return err
	}
	for range 500 {
		if _, err := measured(r.command("rauc", "status", "--output-format=json")); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("rauc's service does not answer: %s", tail(out.String()))
}

func (r *raucService) stop() {
	for _, cmd := range []*exec.Cmd{r.rauc, r.bus} {
		if cmd != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	r.rauc, r.bus = nil, nil
}

// install adds what the service took to what its client took.
func (r *raucService) install(bundle string) (usage, error) {
	pid := r.rauc.Process.Pid
	before, err := processUsage(pid)
	if err != nil {
		return usage{}, err
	}
	u, err := measured(r.command("rauc", "install", bundle))
	if err != nil {
		return u, err
	}
	after, err := processUsage(pid)
	u.cpu += after.cpu - before.cpu
	u.written += after.written - before.written
	u.rss = max(u.rss, after.rss)
	return u, err
}

// processUsage reads what a running process has taken so far, its children
// that have ended included.
func processUsage(pid int) (u usage, err error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	// After the name in parentheses: field 3. utime stime cutime cstime are 14 to 17.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const tick = time.Second / 100
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * tick
	}
	for file, want := range map[string]struct {
		key  string
		to   *int64
		unit int64
	}{"status": {"VmHWM:", &u.rss, 1 << 10}, "io": {"write_bytes:", &u.written, 1}} {
		text, err := os.ReadFile(dir + file)
		if err != nil {
			return u, err
		}
		_, rest, _ := strings.Cut(string(text), want.key)
		if f := strings.Fields(rest); len(f) > 0 {
			n, err := strconv.ParseInt(f[0], 10, 64)
			if err != nil {
				return u, err
			}
			*want.to = n * want.unit
		}
	}
	return u, nil
}
