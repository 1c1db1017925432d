package health

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func timeout(t *testing.T, ms int) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), time.Duration(ms)*time.Millisecond)
}

// script writes an executable below dir.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	write(t, path, "#!/bin/sh\n"+body+"\n")
	chmod(t, path, 0o755)
	return path
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// runDirectory runs the scripts of dir and returns the results by name.
func runDirectory(t *testing.T, dir string) map[string]Result {
	t.Helper()
	c, err := New(Options{Directory: dir, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Result{}
	for _, r := range c.Run(t.Context()) {
		byName[r.Name] = r
	}
	return byName
}

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "required/10-good", "echo first; echo all is well")
	script(t, dir, "required/20-bad", "echo no database >&2; exit 7")
	script(t, dir, "wanted/10-bad", "kill -9 $$")
	script(t, dir, "wanted/20-quiet", ":")
	script(t, dir, "wanted/30-env", `[ "$LEAK" = "" ] && [ "$PATH" != "" ] && [ "$(pwd)" = / ] && ! read x`)
	script(t, dir, "wanted/40-terminal", `printf 'clear \033[2J and \200'`)
	write(t, dir+"/required/README", "switched off: not executable")
	script(t, dir, "required/.hidden", "exit 1")
	script(t, dir, "required/old.rpmsave", "exit 1")
	script(t, dir, "required/edited~", "exit 1")
	t.Setenv("LEAK", "secret")

	got := runDirectory(t, dir)
	for name, want := range map[string]Result{
		"required/10-good":   {Required: true, OK: true, Detail: "all is well"},
		"required/20-bad":    {Required: true, OK: false, Detail: "exit status 7: no database"},
		"wanted/10-bad":      {OK: false, Detail: "signal: killed"},
		"wanted/20-quiet":    {OK: true},
		"wanted/30-env":      {OK: true},
		"wanted/40-terminal": {OK: true, Detail: "clear  [2J and ?"},
	} {
		want.Name = name
		if got[name] != want {
			t.Errorf("got %+v\nwant %+v", got[name], want)
		}
		delete(got, name)
	}
	if len(got) != 0 {
		t.Errorf("also ran %v", got)
	}
}

func TestScriptsMissingDirectory(t *testing.T) {
	if got := runDirectory(t, filepath.Join(t.TempDir(), "none")); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestScriptThatHangsIsKilledWithItsChildren(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "survived")
	script(t, dir, "required/hang", "(sleep 1; touch "+mark+") & echo waiting; sleep 60")
	c, err := New(Options{Directory: dir, Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := c.Run(t.Context())
	if r[0].OK || r[0].Detail != "did not end in time: waiting" {
		t.Errorf("%+v", r)
	}
	if d := time.Since(start); d > 900*time.Millisecond {
		t.Errorf("took %v", d)
	}
	time.Sleep(1100*time.Millisecond - time.Since(start))
	if _, err := os.Stat(mark); err == nil {
		t.Error("a child of the script lives on")
	}
}

// A daemon that a script started keeps its output open.
func TestScriptThatLeavesADaemon(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "required/daemon", "echo started; setsid sleep 2 &")
	if r := runDirectory(t, dir)["required/daemon"]; !r.OK || r.Detail != "started" {
		t.Errorf("%+v", r)
	}
}

func TestScriptEndlessOutput(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "required/yes", "head -c 3000000 /dev/zero | tr '\\0' y; exit 1")
	if r := runDirectory(t, dir)["required/yes"]; r.OK || len(r.Detail) > maxLine {
		t.Errorf("%+v", r)
	}
}

// Each of these could have been put there by somebody who is not root.
func TestAttack_ScriptsOfOthersAreNotRun(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir, path string){
		"writable by all":        func(t *testing.T, _, path string) { chmod(t, path, 0o757) },
		"writable by group":      func(t *testing.T, _, path string) { chmod(t, path, 0o775) },
		"directory writable":     func(t *testing.T, dir, _ string) { chmod(t, dir+"/required", 0o777) },
		"top directory writable": func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777) },
		"symbolic link": func(t *testing.T, _, path string) {
			target := script(t, t.TempDir(), "elsewhere", "touch "+filepath.Dir(path)+"/ran")
			must(t, os.Remove(path))
			must(t, os.Symlink(target, path))
		},
		"device": func(t *testing.T, _, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink("/dev/null", path))
		},
		"another owner": func(t *testing.T, _, path string) {
			if os.Geteuid() != 0 {
				t.Skip("needs root to give a file away") // CI's make attack is root's
			}
			must(t, os.Chown(path, 1234, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mark := filepath.Join(dir, "required/ran")
			path := script(t, dir, "required/x", "touch "+mark)
			spoil(t, dir, path)
			got := runDirectory(t, dir)
			if _, err := os.Stat(mark); err == nil {
				t.Error("it was run")
			}
			for _, r := range got {
				if r.OK || !r.Required || !strings.Contains(r.Detail, "is not run") {
					t.Errorf("%+v", r)
				}
			}
			if len(got) != 1 {
				t.Errorf("%v", got)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
