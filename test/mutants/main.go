// Command mutants asks whether the crash tests would notice. It takes each
// barrier out of the code that writes boot state, tables and slots, and moves
// each write across the barrier next to it, one at a time, and runs the crash
// tests on every such mutant.
//
// A mutant that no test kills is either listed in harmless.txt, with the
// reason why it does no harm, or a hole in the tests: then the exit status is
// not zero. The source tree is not touched: a mutant lives in an overlay of
// the go command.
//
//	mutants [-list] [-only TEXT] [-sample N [-seed S]]
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
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

// targets are the files with barriers, and the packages whose tests must
// notice when one is missing: a row for each domain that writes to disks. What
// counts as a barrier or a write there is named in mutate.go.
var targets = []struct {
	files string
	tests []string
}{
	{"internal/bootctl/store*.go", []string{"./internal/bootctl", "./internal/update"}},
	{"internal/partition/*.go", []string{"./internal/partition", "./internal/update"}},
	{"internal/update/*.go", []string{"./internal/update"}},
	// What prepare writes, and abort takes away, through the old system's file
	// system (carve.go, abboot.go, prepare*.go, esp.go, abort.go) is no work for a
	// simulated disk: start reads it by disk address before it relies on it, and
	// the tests are those of root.
	{"internal/migrate/start.go", []string{"./internal/migrate"}},
	{"internal/migrate/execute.go", []string{"./internal/migrate"}},
	{"internal/migrate/gather.go", []string{"./internal/migrate"}},
	{"internal/migrate/restore.go", []string{"./internal/migrate"}},
	{"internal/migrate/finish.go", []string{"./internal/migrate"}},
	{"internal/migrate/wipe.go", []string{"./internal/migrate"}},
	{"internal/migrate/data_make.go", []string{"./internal/migrate"}},
}

// tests are those that are run.
const tests = "Crash|Cut|Fault|Flow|Resume|Forget"

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
	jobs, err := collect()
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
	count := make(map[string]int)
	for _, j := range jobs {
		verdict, by, err := try(tmp, j.mutant, j.tests)
		if err != nil {
			return 0, err
		}
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

// job is a mutant, the packages whose tests must notice it, and why it does no
// harm if they do not.
type job struct {
	mutant
	tests  []string
	excuse string
}

// collect makes all mutants. A reason in harmless.txt for a mutant that is not
// there any more is an error: it would excuse another one some day.
func collect() ([]job, error) {
	harmless, err := parseHarmless(harmlessText)
	if err != nil {
		return nil, err
	}
	var jobs []job
	for _, target := range targets {
		files, err := filepath.Glob(target.files)
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no file is named %s; run this in the root of the sources: %w", target.files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			mutants, err := mutate(file)
			if err != nil {
				return nil, err
			}
			for _, m := range mutants {
				jobs = append(jobs, job{m, target.tests, harmless[m.name]})
				delete(harmless, m.name)
			}
		}
	}
	for name := range harmless {
		return nil, fmt.Errorf("harmless.txt lists %q, and there is no such mutant", name)
	}
	return jobs, nil
}

// try runs the tests on a mutant: package by package, as most die in their own.
func try(tmp string, m mutant, packages []string) (verdict, by string, err error) {
	file := filepath.Join(tmp, "mutant.go")
	overlay := filepath.Join(tmp, "overlay.json")
	abs, err := filepath.Abs(m.file)
	if err != nil {
		return "", "", err
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {abs: file}})
	if err != nil {
		return "", "", err
	}
	for path, content := range map[string][]byte{file: m.source, overlay: b} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return "", "", err
		}
	}
	start := time.Now()
	for _, pkg := range packages {
		out, err := exec.Command("go", "test", "-count=1", "-failfast", "-vet=off", "-timeout=5m", "-overlay="+overlay, "-run="+tests, pkg).CombinedOutput()
		switch {
		case err == nil:
		case bytes.Contains(out, []byte("[build failed]")):
			return "no program", "does not compile", nil
		default:
			return "killed", firstFailure(out), nil
		}
	}
	return "survived", fmt.Sprintf("%d s", int(time.Since(start).Seconds())), nil
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
