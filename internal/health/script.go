package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxScripts bounds how many files of a directory are run.
const maxScripts = 100

// findScripts lists the executables of required/ and wanted/ below dir. What
// cannot be run safely is a check that fails and says why.
func findScripts(dir string) []Check {
	if dir == "" {
		return nil
	}
	var checks []Check
	for _, level := range []string{"required", "wanted"} {
		found := scriptsOf(dir, level)
		for i := range found {
			found[i].required = level == "required"
		}
		checks = append(checks, found...)
	}
	return checks
}

func scriptsOf(dir, level string) []Check {
	path := filepath.Join(dir, level)
	entries, err := os.ReadDir(path) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > maxScripts {
		err = fmt.Errorf("holds more than %d files", maxScripts)
	}
	if err == nil {
		err = trusted(dir)
	}
	if err == nil {
		err = trusted(path)
	}
	if err != nil {
		return []Check{refused(level, err)}
	}
	var checks []Check
	for _, e := range entries {
		if ignored(e.Name()) {
			continue
		}
		name, file := level+"/"+e.Name(), filepath.Join(path, e.Name())
		st, err := os.Lstat(file)
		switch {
		case err != nil:
			checks = append(checks, refused(name, err))
		case st.Mode().IsRegular() && st.Mode()&0o111 == 0:
			// A README, or a check switched off by chmod -x.
		default:
			checks = append(checks, Check{name: tidy(name), probe: one(runScript(file))})
		}
	}
	return checks
}

// ignored tells what package managers and editors leave behind, which may be
// executable.
func ignored(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") {
		return true
	}
	switch filepath.Ext(name) {
	case ".rpmsave", ".rpmnew", ".rpmorig", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".bak", ".swp", ".orig":
		return true
	}
	return false
}

func refused(name string, err error) Check {
	return Check{name: tidy(name), probe: one(func(context.Context, host) (string, error) { return "", err })}
}

// trusted refuses what another user could have written or replaced: scripts
// run as root. A symbolic link is refused with it, because its target may lie
// anywhere.
func trusted(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.IsDir() && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not run: it is no regular file", path)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("internal error: no owner of %s", path)
	}
	if sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not run: it belongs to user %d, not to root", path, sys.Uid)
	}
	if st.Mode()&0o022 != 0 {
		return fmt.Errorf("%s is not run: group or others may write it (mode %04o)", path, st.Mode().Perm())
	}
	return nil
}

// runScript runs one executable: exit status 0 is good. Its last line of
// output is the detail.
func runScript(path string) func(context.Context, host) (string, error) {
	return func(ctx context.Context, _ host) (string, error) {
		if err := trusted(path); err != nil {
			return "", err
		}
		out, err := runCapped(ctx, path)
		if err == nil {
			return lastLine(out), nil
		}
		if ctx.Err() != nil { // then err is only how it was ended
			err = errors.New("did not end in time")
		}
		if line := lastLine(out); line != "" {
			return "", fmt.Errorf("%w: %s", err, line)
		}
		return "", err
	}
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// killWait is how long after the kill a program's output is waited for: a
// descendant in another process group may hold the pipe open for ever.
const killWait = time.Second

// runCapped runs a program in a small environment of its own, and returns the
// end of its standard output and error. When ctx ends it is killed, with what
// it started.
func runCapped(ctx context.Context, path string, args ...string) (string, error) {
	out := &tail{}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/", "SHELL=/bin/sh"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; something that it started holds the pipe
	}
	return string(out.b), err
}

// tail keeps the last bytes written to it.
type tail struct{ b []byte }

const maxOutput = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - maxOutput; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}
