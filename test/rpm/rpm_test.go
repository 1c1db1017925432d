//go:build root

// Package rpm_test installs the RPM into an empty root, as the recipe of an
// appliance image does, and removes it again.
package rpm_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const project = "../.."

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = project
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// root is a directory that rpm installs into.
type root struct {
	t   *testing.T
	dir string
}

func (r root) rpm(args ...string) string {
	r.t.Helper()
	return run(r.t, "rpm", append([]string{"--root", r.dir, "--dbpath", "/var/lib/rpm"}, args...)...)
}

// files lists what is in the root, apart from rpm's own database.
func (r root) files() (names []string) {
	r.t.Helper()
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, r.dir)
		if strings.HasPrefix(name, "/var/lib/rpm") {
			return fs.SkipDir
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return names
}

// newRoot makes a root with the directories that the packages of any EL own.
func newRoot(t *testing.T) root {
	r := root{t, t.TempDir()}
	for _, dir := range []string{
		"etc", "usr/bin", "usr/lib/systemd/system.conf.d", "usr/lib/systemd/system/basic.target.wants",
		"usr/lib/systemd/system/multi-user.target.wants", "usr/lib/systemd/system/sysinit.target.wants",
		"usr/lib/systemd/system/timers.target.wants", "usr/lib/udev/rules.d", "usr/libexec",
		"usr/share/doc", "var/lib/rpm", "var/tmp",
	} {
		if err := os.MkdirAll(filepath.Join(r.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.rpm("--initdb")
	return r
}

func build(t *testing.T) string {
	run(t, "make", "-s", "rpm", "VERSION=v0.0.1-test")
	return "build/abupdate-0.0.1~test-1.x86_64.rpm"
}

func TestRPM(t *testing.T) {
	pkg := build(t)

	t.Run("installs and removes without a trace", func(t *testing.T) {
		r := newRoot(t)
		before := r.files()
		r.rpm("--install", pkg)
		r.rpm("--verify", "abupdate")
		out, err := exec.Command(filepath.Join(r.dir, "usr/bin/abupdate"), "version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "0.0.1-test") {
			t.Errorf("the installed abupdate says %q, %v; want version 0.0.1-test", out, err)
		}
		for _, link := range []string{
			"basic.target.wants/abupdate-arm.service", "multi-user.target.wants/abupdate-health.service", "timers.target.wants/abupdate-finish.timer",
			"sysinit.target.wants/abupdate-deadline.timer",
		} {
			if _, err := os.Stat(filepath.Join(r.dir, "usr/lib/systemd/system", link)); err != nil {
				t.Errorf("the unit is not enabled: %v", err)
			}
		}
		r.rpm("--erase", "abupdate")
		if after := r.files(); !slices.Equal(before, after) {
			t.Errorf("removal left the root as\n%q\nwant it as before:\n%q", after, before)
		}
	})

	t.Run("keeps a changed configuration", func(t *testing.T) {
		r := newRoot(t)
		r.rpm("--install", pkg)
		config := filepath.Join(r.dir, "etc/abupdate/config.toml")
		if err := os.WriteFile(config, []byte("# ours\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		r.rpm("--install", "--replacepkgs", pkg)
		if b, err := os.ReadFile(config); err != nil || string(b) != "# ours\n" {
			t.Errorf("after installing again the configuration is %q, %v", b, err)
		}
		r.rpm("--erase", "abupdate")
		if b, err := os.ReadFile(config + ".rpmsave"); err != nil || string(b) != "# ours\n" {
			t.Errorf("after removal the saved configuration is %q, %v", b, err)
		}
	})

	t.Run("needs nothing else and runs nothing", func(t *testing.T) {
		for line := range strings.Lines(run(t, "rpm", "--query", "--requires", "--package", pkg)) {
			if s := strings.TrimSpace(line); s != "" && !strings.HasPrefix(s, "rpmlib(") {
				t.Errorf("the package requires %s", s)
			}
		}
		if s := strings.TrimSpace(run(t, "rpm", "--query", "--scripts", "--package", pkg)); s != "" {
			t.Errorf("the package has scriptlets:\n%s", s)
		}
	})
}
