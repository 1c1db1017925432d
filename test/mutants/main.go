// Command mutants asks whether the crash tests would notice. It takes each
// barrier out of the code that writes boot state, tables and slots, and moves
// each write across the barrier next to it, one at a time, and runs the crash
// tests on every such mutant.
//
// A mutant that no test kills is either listed in harmless.txt, with the reason
// why it does no harm, or a hole in the tests: then the exit status is not zero.
// The source tree is not touched: mutants live in an overlay of the go command,
// all of them in one program.
//
//	mutants [-list] [-only TEXT] [-sample N [-seed S]]
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// targets are the files with barriers, and the tests that must notice when one
// is missing: a row for each domain that writes to disks. What counts as a
// barrier or a write there is named in mutate.go.
var targets = []target{
	{"internal/bootctl/store*.go", []string{"./internal/bootctl", "./internal/update"}, tests},
	{"internal/partition/*.go", []string{"./internal/partition", "./internal/update"}, tests},
	{"internal/update/*.go", []string{"./internal/update"}, tests},
	// What prepare writes, and abort removes, through the old system's file
	// system (carve.go, abboot.go, prepare*.go, esp.go) is no work for a simulated
	// disk. Nothing boots from it before start: prepare reads abboot back, start
	// reads slot a and the files that are booted by disk address, and has barriers
	// of its own before the switch. The tests are those of root.
	{"internal/migrate/start.go", []string{"./internal/migrate"}, "CrashStart|FaultStart"},
	{"internal/migrate/abort.go", []string{"./internal/migrate"}, "CrashAbort|FaultStart"},
	{"internal/migrate/execute.go", []string{"./internal/migrate"}, migratorTests},
	{"internal/migrate/gather.go", []string{"./internal/migrate"}, migratorTests},
	{"internal/migrate/restore.go", []string{"./internal/migrate"}, migratorTests},
	{"internal/migrate/finish.go", []string{"./internal/migrate"}, "CrashFinish|FaultFinish|FinishOnAMachine"},
	{"internal/mkfs/ext4_data.go", []string{"./internal/migrate"}, "CrashMakeData"},
}

// target is one such row.
type target struct {
	files    string
	packages []string
	run      string // the tests: a pattern for go test -run
}

const (
	tests         = "Crash|Cut|Fault|Flow|Resume|Forget"
	migratorTests = "CrashMigrator|CrashKeeps|CrashAfter|FaultMigrator"
)

//go:embed harmless.txt
var harmlessText string

func main() {
	list := flag.Bool("list", false, "list the mutants and run nothing")
	only := flag.String("only", "", "take only mutants whose name contains this")
	sample := flag.Int("sample", 0, "take only this many of them, at random; 0 takes all")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the sample")
	flag.Parse()
	survived, err := run(*list, *only, *sample, *seed)
	if err != nil {
		fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
		os.Exit(2)
	}
	if survived > 0 {
		os.Exit(1)
	}
}

func run(list bool, only string, sample int, seed uint64) (survived int, err error) {
	jobs, files, err := collect()
	if err != nil {
		return 0, err
	}
	jobs = slices.DeleteFunc(jobs, func(j job) bool { return !strings.Contains(j.name, only) })
	if sample > 0 && sample < len(jobs) {
		fmt.Printf("mutants: %d of %d, at random: -seed %d\n", sample, len(jobs), seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		rng.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
		jobs = jobs[:sample]
	}
	if list {
		for _, j := range jobs {
			fmt.Printf("%s\n\t%s\n", j.name, j.what)
		}
		return 0, nil
	}
	tmp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	p := newProgram(tmp, files)
	binaries, err := p.build(packages(jobs))
	if err != nil {
		return 0, err
	}
	if err := control(jobs, binaries); err != nil {
		return 0, err
	}
	count := make(map[string]int)
	for _, j := range jobs {
		verdict, by := p.try(j, binaries)
		if verdict == "survived" && j.excuse != "" {
			verdict, by = "harmless", j.excuse
		} else if j.excuse != "" {
			by += "; it need not be listed as harmless"
		}
		count[verdict]++
		fmt.Printf("%-10s %s: %s (%s)\n", verdict, j.name, j.what, by)
	}
	fmt.Printf("mutants: %d killed, %d harmless, %d survived; %d more do not compile\n",
		count["killed"], count["harmless"], count["survived"], count["no program"])
	return count["survived"], nil
}

// job is a mutant, the tests that must notice it, and why it does no harm if
// they do not.
type job struct {
	*mutant
	target target
	excuse string
}

// collect makes all mutants. A reason in harmless.txt for a mutant that is not
// there any more is an error: it would excuse another one some day.
func collect() (jobs []job, mutated []*mutator, err error) {
	harmless, err := parseHarmless(harmlessText)
	if err != nil {
		return nil, nil, err
	}
	for _, target := range targets {
		files, err := filepath.Glob(target.files)
		if err != nil || len(files) == 0 {
			return nil, nil, fmt.Errorf("no file is named %s; run this in the root of the sources", target.files)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			m, err := mutate(file)
			if err != nil {
				return nil, nil, err
			}
			for _, found := range m.found {
				jobs = append(jobs, job{found, target, harmless[found.name]})
				delete(harmless, found.name)
			}
			mutated = append(mutated, m)
		}
	}
	for name := range harmless {
		return nil, nil, fmt.Errorf("harmless.txt lists %q, and there is no such mutant", name)
	}
	return jobs, mutated, nil
}

// packages are those whose tests are needed.
func packages(jobs []job) (all []string) {
	for _, j := range jobs {
		all = append(all, j.target.packages...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// try runs the tests on a mutant: package by package, as most die in their own.
func (p *program) try(j job, binaries map[string]string) (verdict, by string) {
	if !p.compiles(j.mutant) {
		return "no program", "does not compile"
	}
	start := time.Now()
	for _, pkg := range j.target.packages {
		if out, err := runTests(binaries[pkg], pkg, j.target.run, p.numbers[j.mutant]); err != nil {
			return "killed", firstFailure(out)
		}
	}
	return "survived", fmt.Sprintf("%d s", int(time.Since(start).Seconds()))
}

// control runs the tests with no mutant: what fails then notices nothing.
func control(jobs []job, binaries map[string]string) error {
	done := make(map[string]bool)
	for _, j := range jobs {
		for _, pkg := range j.target.packages {
			if key := pkg + j.target.run; !done[key] {
				done[key] = true
				if out, err := runTests(binaries[pkg], pkg, j.target.run, 0); err != nil {
					return fmt.Errorf("the tests of %s fail without a mutant: %w\n%s", pkg, err, out)
				}
			}
		}
	}
	return nil
}

func runTests(binary, pkg, run string, mutant int) ([]byte, error) {
	cmd := exec.Command(binary, "-test.failfast", "-test.timeout=30m", "-test.run="+run)
	cmd.Dir = pkg
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", environment, mutant))
	return cmd.CombinedOutput()
}

func firstFailure(out []byte) string {
	for line := range strings.Lines(string(out)) {
		if _, name, ok := strings.Cut(line, "--- FAIL: "); ok {
			return "by " + strings.Fields(name)[0]
		}
		if strings.HasPrefix(line, "panic: ") {
			return strings.TrimSpace(line)
		}
	}
	return "by a failing test"
}

// parseHarmless reads lines of "name: reason".
func parseHarmless(text string) (map[string]string, error) {
	list := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, ": ")
		if !ok || list[name] != "" {
			return nil, fmt.Errorf("harmless.txt: line %q: not a mutant's name and a reason, or there twice", line)
		}
		list[name] = reason
	}
	return list, nil
}
