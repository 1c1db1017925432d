package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// noSystemd is the answer of checks that only mean something under systemd.
const noSystemd = "systemd does not run this machine"

// systemdRuns is sd_booted(3).
func (h host) systemdRuns() bool {
	st, err := os.Lstat(h.systemdRun)
	return err == nil && st.IsDir()
}

// ask runs systemctl and returns what it says.
func (h host) ask(ctx context.Context, args ...string) (string, error) {
	for _, path := range h.systemctl {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		out, err := runCapped(ctx, path, args...)
		out = strings.TrimSpace(out)
		if err != nil {
			err = fmt.Errorf("systemctl %s: %w: %s", args[0], err, firstLine(out))
		}
		return out, err
	}
	return "", errors.New("systemctl is not there")
}

// askState asks for a state, whose word is the answer whatever the exit
// status: that is 0 only for the good ones.
func (h host) askState(ctx context.Context, args ...string) (string, error) {
	state, err := h.ask(ctx, args...)
	var status *exec.ExitError
	if errors.As(err, &status) && status.Exited() && state != "" {
		err = nil
	}
	return firstLine(state), err
}

// checkStarted waits, so to speak, for systemd: before all units had their
// turn, units that did not fail say nothing.
func checkStarted(ctx context.Context, h host) (string, error) {
	if !h.systemdRuns() {
		return noSystemd, nil
	}
	state, err := h.askState(ctx, "is-system-running")
	switch {
	case err != nil:
		return "", err
	case state == "running" || state == "degraded": // which units failed is another check's matter
		return state, nil
	}
	return "", fmt.Errorf("systemd is %q", state)
}

// checkUnits has a result of its own for each failed unit, so that one that
// failed before the update does not hide one that fails since.
func checkUnits(ctx context.Context, h host) []finding {
	if !h.systemdRuns() {
		return []finding{{detail: noSystemd}}
	}
	out, err := h.ask(ctx, "list-units", "--state=failed", "--all", "--no-legend", "--no-pager", "--full")
	if err != nil {
		return []finding{{err: err}}
	}
	failed := failedUnits(out)
	if len(failed) == 0 {
		return []finding{{detail: "none has failed"}}
	}
	list := []finding{{detail: fmt.Sprintf("%d failed", len(failed))}}
	for _, unit := range failed {
		list = append(list, finding{suffix: ":" + unit, err: errors.New("has failed")})
	}
	return list
}

// maxFailedUnits bounds what is kept of systemctl's list.
const maxFailedUnits = 100

// failedUnits reads the names out of systemctl's list, which begins its lines
// with a dot on some versions.
func failedUnits(list string) []string {
	var units []string
	for line := range strings.Lines(list) {
		line = strings.TrimLeft(line, " \t●*×")
		f := strings.Fields(line)
		if len(f) > 1 && strings.Contains(f[0], ".") && len(f[0]) < maxLine-len("units:") && len(units) < maxFailedUnits {
			units = append(units, tidy(f[0]))
		}
	}
	return units
}

func checkUnit(name string) func(context.Context, host) (string, error) {
	return func(ctx context.Context, h host) (string, error) {
		if !h.systemdRuns() {
			return "", errors.New(noSystemd)
		}
		state, err := h.askState(ctx, "is-active", name)
		if err != nil {
			return "", err
		}
		if state != "active" {
			return "", fmt.Errorf("is %q", state)
		}
		return "active", nil
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
