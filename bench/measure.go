package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// usage is what one run took. Where a figure has no meaning it is 0.
type usage struct {
	cpu, wall time.Duration
	rss       int64 // peak resident memory of the largest process, bytes
	written   int64 // to block devices and files, bytes
	fetched   int64 // from the server, bytes
	requests  int64
	size      int64 // of what was built, bytes
}

// measure runs a command to its end. CPU and memory are those of the process
// and of all its descendants, as the kernel counts them (getrusage).
func (b *bench) measure(name string, args ...string) (usage, error) {
	cmd := exec.CommandContext(b.ctx, name, args...)
	return measured(cmd)
}

func measured(cmd *exec.Cmd) (usage, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(start)}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(out.String()))
	}
	ru := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	u.rss = ru.Maxrss << 10
	u.written = ru.Oublock << 9
	return u, nil
}

// tail is the end of a program's output, for an error.
func tail(s string) string {
	const most = 2000
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return strings.TrimSpace(s)
}

// do runs a command whose cost does not matter.
func (b *bench) do(name string, args ...string) error {
	_, err := b.measure(name, args...)
	return err
}

// output runs a command and returns what it printed.
func (b *bench) output(name string, args ...string) (string, error) {
	out, err := exec.CommandContext(b.ctx, name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// contestant is one way to do the job of a table.
type contestant struct {
	name    string
	command string                // as the report shows it
	needs   []string              // programs, with the Debian package after a slash where it differs
	prepare func() error          // before each run, not measured; may be nil
	run     func() (usage, error) // one run
	check   func() error          // after each run, not measured; may be nil
	rounds  int                   // at most; 0: as many as the others
}

// missing names the first program that a contestant lacks, with its package.
func (c contestant) missing() string {
	for _, n := range c.needs {
		program, pkg, ok := strings.Cut(n, "/")
		if !ok {
			pkg = program
		}
		if _, err := exec.LookPath(program); err != nil {
			return pkg
		}
	}
	return ""
}

// compete runs the contestants in turn, b.pairs rounds, and returns the median
// of each, in their order. Those that are not installed are left out.
func (b *bench) compete(t *table, all []contestant) error {
	runs, failed := make([][]usage, len(all)), make([]bool, len(all))
	for round := range b.pairs {
		for i, c := range all {
			if c.missing() != "" || failed[i] || c.rounds > 0 && round >= c.rounds {
				continue
			}
			u, err := b.once(c)
			switch {
			case err == nil:
			case strings.HasPrefix(c.name, "abupdate") || b.ctx.Err() != nil:
				return fmt.Errorf("%s: %w", c.name, err)
			default: // a peer's trouble is no reason to lose the rest
				b.report.say("%s: %s is left out: %v", t.title, c.name, err)
				failed[i] = true
				continue
			}
			b.report.say("%s, round %d: %s: CPU %.2f s, wall %.2f s, %.0f MiB, %.2f MB made, %.2f MB fetched", t.title, round+1, c.name,
				u.cpu.Seconds(), u.wall.Seconds(), mib(u.rss), mb(u.size), mb(u.fetched))
			runs[i] = append(runs[i], u)
		}
	}
	for i, c := range all {
		if pkg := c.missing(); pkg != "" {
			b.report.absent(pkg)
			continue
		}
		if failed[i] {
			continue
		}
		t.rows = append(t.rows, row{c.name, c.command, median(runs[i])})
	}
	return nil
}

func (b *bench) once(c contestant) (usage, error) {
	if c.prepare != nil {
		if err := c.prepare(); err != nil {
			return usage{}, err
		}
	}
	u, err := c.run()
	if err == nil && c.check != nil {
		err = c.check()
	}
	return u, err
}

// median takes the median of each figure by itself.
func median(runs []usage) usage {
	if len(runs) == 0 {
		return usage{}
	}
	return usage{
		cpu:      middle(runs, func(u usage) time.Duration { return u.cpu }),
		wall:     middle(runs, func(u usage) time.Duration { return u.wall }),
		rss:      middle(runs, func(u usage) int64 { return u.rss }),
		written:  middle(runs, func(u usage) int64 { return u.written }),
		fetched:  middle(runs, func(u usage) int64 { return u.fetched }),
		requests: middle(runs, func(u usage) int64 { return u.requests }),
		size:     middle(runs, func(u usage) int64 { return u.size }),
	}
}

func middle[T ~int64](runs []usage, of func(usage) T) T {
	var values []T
	for _, u := range runs {
		values = append(values, of(u))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
func mb(n int64) float64  { return float64(n) / 1e6 }
