package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestMain lets the test binary stand in for the program, where a test needs
// a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("ABUPDATE_TEST_MAIN") == "1" {
		main()
	}
	code := m.Run()
	if factoryDir != "" {
		os.RemoveAll(factoryDir)
	}
	os.Exit(code)
}

// command returns the program as a process of its own.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "ABUPDATE_TEST_MAIN=1")
	return cmd
}

// outcome is what one run of the program left.
type outcome struct {
	code           int
	stdout, stderr string
}

// abupdate runs the program in this process.
func abupdate(args ...string) outcome {
	return abupdateIn(nil, args...)
}

func abupdateIn(stdin []byte, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), args, bytes.NewReader(stdin), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// mustRun runs the program and fails the test unless it ends with 0.
func mustRun(tb testing.TB, args ...string) string {
	tb.Helper()
	o := abupdate(args...)
	if o.code != codeDone {
		tb.Fatalf("abupdate %s: exit code %d\n%s%s", strings.Join(args, " "), o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// factory is a vendor's directory, made once for all tests: keys, two
// versions and the disk of a device that runs the first.
type factory struct {
	dir                    string
	keyring, key, otherKey string
	rootfs, boot           string
	v1, v2, disk           string
	otherKeyring           string
}

// factoryDir is the factory's directory, once there is one.
var factoryDir string

var makeFactory = sync.OnceValues(func() (*factory, error) {
	dir, err := os.MkdirTemp("", "abupdate-factory-")
	if err != nil {
		return nil, err
	}
	factoryDir = dir
	f := &factory{dir: dir}
	at := func(name string) string { return filepath.Join(dir, name) }
	f.keyring, f.key, f.otherKeyring, f.otherKey = at("K.json"), at("key.pem"), at("other.json"), at("other.pem")
	f.rootfs, f.boot, f.v1, f.v2, f.disk = at("rootfs.img"), at("boot.tar"), at("v1.abu"), at("v2.abu"), at("gateway.img")
	image := make([]byte, 8<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range image[:6<<20] {
		image[i] = byte(rng.Uint32())
	}
	if err := os.WriteFile(f.rootfs, image, 0o600); err != nil {
		return nil, err
	}
	steps := [][]string{
		{"keyring", "create", "--keyring", f.keyring},
		{"keyring", "add", "--keyring", f.keyring, "--generate", f.key},
		{"keyring", "create", "--keyring", f.otherKeyring},
		{"keyring", "add", "--keyring", f.otherKeyring, "--generate", f.otherKey},
		{"bundle", "boot-image", "--grub-dir", "/usr/lib/grub", "--firmware", "both", "--out", f.boot},
		append(f.create(f.v1), "--version", "1.0.0"),
		append(f.create(f.v2), "--version", "2.0.0"),
		{
			"image", "create", "--bundle", f.v1, "--keyring", f.keyring, "--compatible", "gw-x86", "--firmware", "bios",
			"--size", "320MiB", "--slot-size", "16MiB", "--out", f.disk,
		},
	}
	for _, args := range steps {
		if o := abupdate(args...); o.code != codeDone {
			return nil, &exec.Error{Name: strings.Join(args, " "), Err: os.NewSyscallError(o.stderr, os.ErrInvalid)}
		}
	}
	return f, nil
})

// create is the command that builds a bundle, but for its version.
func (f *factory) create(out string) []string {
	return []string{
		"bundle", "create", "--rootfs", f.rootfs, "--boot", f.boot, "--product", "gw", "--compatible", "gw-x86",
		"--key", f.key, "--level", "1", "--frame-size", "512KiB", "--out", out,
	}
}

func getFactory(tb testing.TB) *factory {
	tb.Helper()
	f, err := makeFactory()
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// device returns a copy of the factory's disk for one test.
func (f *factory) device(tb testing.TB) string {
	tb.Helper()
	return copyFile(tb, f.disk, filepath.Join(tb.TempDir(), "gateway.img"))
}

func copyFile(tb testing.TB, from, to string) string {
	tb.Helper()
	// cp keeps holes, and shares blocks where the file system can.
	if out, err := exec.Command("cp", "--sparse=auto", "--reflink=auto", from, to).CombinedOutput(); err != nil {
		tb.Fatalf("cp: %v\n%s", err, out)
	}
	return to
}

// status is the status of a disk image.
func status(tb testing.TB, disk string) map[string]any {
	tb.Helper()
	var s map[string]any
	if err := json.Unmarshal([]byte(mustRun(tb, "--disk", disk, "--json", "status")), &s); err != nil {
		tb.Fatal(err)
	}
	return s
}
