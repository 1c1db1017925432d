// Command verdict runs go test and says in one line for each campaign, or each
// attack, how it went. Its last line is the sum, and its exit status is not
// zero unless all went well.
//
//	verdict crash  [go test arguments]   crash: N points, V violations
//	verdict attack [go test arguments]   attack: N attacks, F not refused
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: verdict crash|attack [go test arguments]")
		os.Exit(2)
	}
	os.Exit(run(os.Args[1], os.Args[2:], os.Stdout))
}

// reporter makes lines of what go test says.
type reporter interface {
	event(event)
	// sum prints the last line and reports whether all went well.
	sum(testsPassed bool) bool
}

// event is one line of go test -json (see go doc test2json).
type event struct {
	Action, Package, Test, Output string
}

// name is the test without what all tests share.
func (e event) name() string {
	return e.Package[strings.LastIndex(e.Package, "abupdate/")+len("abupdate/"):] + " " + e.Test
}

func run(what string, args []string, out io.Writer) int {
	var r reporter
	switch what {
	case "crash":
		r = &crash{out: out}
	case "attack":
		r = &attack{out: out}
	default:
		fmt.Fprintf(os.Stderr, "verdict: %q is neither crash nor attack\n", what)
		return 2
	}
	passed, err := goTest(args, out, r.event)
	if err != nil {
		fmt.Fprintf(os.Stderr, "verdict: %v\n", err)
		passed = false
	}
	if !r.sum(passed) || !passed {
		return 1
	}
	return 0
}

// goTest runs go test and hands each event on. What failing tests, and the
// compiler, have to say goes to out.
func goTest(args []string, out io.Writer, handle func(event)) (passed bool, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	said := make(map[string]string) // what each test has printed
	lines := bufio.NewReader(stdout)
	for {
		line, readErr := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			key := e.Package + " " + e.Test
			said[key] += e.Output
			handle(e)
			switch e.Action {
			case "fail", "build-fail":
				fmt.Fprintf(out, "FAILED %s\n%s", key, said[key])
				delete(said, key)
			case "pass", "skip":
				delete(said, key)
			case "build-output":
				fmt.Fprint(out, e.Output)
			}
		}
		if readErr != nil {
			break
		}
	}
	return cmd.Wait() == nil, nil
}
