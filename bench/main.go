// Command bench measures abupdate beside its peers, on the images that
// bench/inputs builds, and prints their ratios. `make bench` runs it, as root.
//
// All contestants of one table run in one process's time, in turn, several
// rounds; the medians count. So a busy or a slow machine moves all of them, and
// the ratios stay. What is not installed is named and left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is the surroundings of a run.
type bench struct {
	ctx    context.Context
	inputs string // directory of bench/inputs' images
	work   string // directory for what is built from them
	agent  string // the abupdate program
	pairs  int
	level  string // of the bundles for ranges; empty: the packer's own
	report *report
}

// tables are what can be measured, in the order of the report.
var tables = []struct {
	name string
	run  func(*bench) error
}{
	{"size", (*bench).sizes},
	{"install", (*bench).install},
	{"again", (*bench).again},
	{"ranges", (*bench).ranges},
	{"delta", (*bench).deltas},
	{"growth", (*bench).growth},
}

func run(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	inputs := flags.String("inputs", "build/bench", "directory with the images of bench/inputs")
	agent := flags.String("agent", "build/abupdate", "the abupdate program")
	pairs := flags.Int("pairs", 5, "rounds of each table")
	only := flags.String("only", "", "tables to measure, with commas: "+strings.Join(names(), ",")+" (default: all)")
	level := flags.String("level", "", "zstd level of the bundles for ranges, to get there sooner (default: the packer's own)")
	out := flags.String("out", "", "directory for results.md and results.svg (default: only print)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("needs root: the peers write to loop devices and mount their bundles")
	}
	dir, err := filepath.Abs(*inputs)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx, inputs: dir, work: filepath.Join(dir, "work"), agent: *agent, pairs: *pairs, level: *level, report: newReport()}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	wanted := names()
	if *only != "" {
		wanted = strings.Split(*only, ",")
	}
	var failed error
	for _, t := range tables {
		if !slices.Contains(wanted, t.name) {
			continue
		}
		if err := t.run(b); err != nil {
			// What is known by now took long.
			failed = fmt.Errorf("table %s: %w", t.name, err)
			break
		}
	}
	fmt.Print(b.report.markdown())
	if *out == "" {
		return failed
	}
	return errors.Join(failed, b.report.save(*out))
}

func names() (all []string) {
	for _, t := range tables {
		all = append(all, t.name)
	}
	return all
}

// image is the path of an input, such as "v1".
func (b *bench) image(name string) string { return filepath.Join(b.inputs, name+".img") }

// remove deletes files below the work directory: disks are scarce.
func (b *bench) remove(names ...string) {
	for _, name := range names {
		_ = os.Remove(b.path(name))
	}
}

// path is a file below the work directory.
func (b *bench) path(name string) string { return filepath.Join(b.work, name) }
