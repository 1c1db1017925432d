package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// program is the sources with every mutant in them: a mutant is a copy of its
// function under another name, and the function leads to the copy that the
// environment names. So all of them are compiled once.
type program struct {
	dir   string
	files []*mutator
	// numbers tell the mutants apart in names and in the environment.
	numbers map[*mutant]int
	way     map[*mutant]int // which of its ways is in the program
}

// environment names the mutant that is to run.
const environment = "ABUPDATE_MUTANT"

func newProgram(dir string, files []*mutator) *program {
	p := &program{dir: dir, files: files, numbers: make(map[*mutant]int), way: make(map[*mutant]int)}
	for _, f := range files {
		for _, m := range f.found {
			p.numbers[m] = len(p.numbers) + 1
		}
	}
	return p
}

// compiles reports whether there is such a program at all.
func (p *program) compiles(m *mutant) bool { return p.way[m] < len(m.ways) }

// build compiles the tests of packages. A mutant that does not compile is made
// in its next way, or left out.
func (p *program) build(packages []string) (binaries map[string]string, err error) {
	for {
		overlay, copies, err := p.overlay()
		if err != nil {
			return nil, err
		}
		out, err := exec.Command("go", append([]string{"build", "-gcflags=-e", "-overlay=" + overlay}, packages...)...).CombinedOutput()
		if err == nil {
			return p.link(overlay, packages)
		}
		if !p.sortOut(out, copies) {
			return nil, fmt.Errorf("the mutants do not compile: %w\n%s", err, out)
		}
	}
}

func (p *program) link(overlay string, packages []string) (map[string]string, error) {
	binaries := make(map[string]string)
	for _, pkg := range packages {
		bin := filepath.Join(p.dir, filepath.Base(pkg)+".test")
		if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o", bin, pkg).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compiling the tests of %s: %w\n%s", pkg, err, out)
		}
		binaries[pkg] = bin
	}
	return binaries, nil
}

// copied is where a mutant lies in its file.
type copied struct {
	*mutant
	from, to int // lines
}

var position = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):\d+: `)

// sortOut takes the next way of each mutant that the compiler complains of, and
// reports whether there were any.
func (p *program) sortOut(complaints []byte, copies map[string][]copied) bool {
	bad := make(map[*mutant]bool)
	for _, c := range position.FindAllSubmatch(complaints, -1) {
		line, _ := strconv.Atoi(string(c[2]))
		for _, m := range copies[filepath.Base(string(c[1]))] {
			if m.from <= line && line <= m.to {
				bad[m.mutant] = true
			}
		}
	}
	for m := range bad {
		p.way[m]++
	}
	return len(bad) > 0
}

// overlay writes the mutated files, and what makes the go command read them. The
// copies are by the names that the compiler knows.
func (p *program) overlay() (path string, copies map[string][]copied, err error) {
	replace := make(map[string]string)
	copies = make(map[string][]copied)
	put := func(file string, content []byte) (base string) {
		abs, absErr := filepath.Abs(file)
		if replace[abs] == "" {
			replace[abs] = filepath.Join(p.dir, fmt.Sprintf("%d.go", len(replace)))
		}
		err = errors.Join(err, absErr, os.WriteFile(replace[abs], content, 0o600))
		return filepath.Base(replace[abs])
	}
	for _, f := range p.files {
		source, there := p.source(f)
		copies[put(f.file, source)] = there
		put(filepath.Join(filepath.Dir(f.file), "mutant_of_this_run.go"), fmt.Appendf(nil,
			"package %s\n\nimport \"os\"\n\nvar mutantOfThisRun = os.Getenv(%q)\n", f.syntax.Name.Name, environment))
	}
	b, jsonErr := json.Marshal(map[string]map[string]string{"Replace": replace})
	path = filepath.Join(p.dir, "overlay.json")
	return path, copies, errors.Join(err, jsonErr, os.WriteFile(path, b, 0o600))
}

// source returns a file with its mutants behind it.
func (p *program) source(f *mutator) ([]byte, []copied) {
	var tail bytes.Buffer
	var copies []copied
	leads := make(map[*ast.FuncDecl][]string) // to each mutant of a function
	head := f.src
	line := bytes.Count(f.src, []byte("\n")) + 2
	for _, m := range f.found {
		if !p.compiles(m) {
			continue
		}
		name := fmt.Sprintf("%sMutant%d", m.fn.Name.Name, p.numbers[m])
		text := f.edited(m.fn, append([]edit{{m.fn.Name.Pos(), m.fn.Name.End(), name}}, m.ways[p.way[m]]...))
		leads[m.fn] = append(leads[m.fn], lead(m.fn, name, p.numbers[m]))
		lines := strings.Count(text, "\n") + 1
		copies = append(copies, copied{m, line, line + lines - 1})
		fmt.Fprintf(&tail, "\n%s", text)
		line += lines
	}
	// The leads stand in one line with the brace: no line moves.
	for i := len(f.syntax.Decls) - 1; i >= 0; i-- {
		fn, ok := f.syntax.Decls[i].(*ast.FuncDecl)
		if !ok || len(leads[fn]) == 0 {
			continue
		}
		at := f.offset(fn.Body.Lbrace) + 1
		head = bytes.Join([][]byte{head[:at], []byte(" switch mutantOfThisRun { " + strings.Join(leads[fn], "; ") + " };"), head[at:]}, nil)
	}
	return append(bytes.Clone(head), tail.Bytes()...), copies
}

// lead calls a mutant in the place of its function.
func lead(fn *ast.FuncDecl, name string, number int) string {
	call := name
	if fn.Recv != nil {
		call = fn.Recv.List[0].Names[0].Name + "." + name
	}
	var args []string
	for _, field := range fn.Type.Params.List {
		for _, n := range field.Names {
			arg := n.Name
			if _, variadic := field.Type.(*ast.Ellipsis); variadic {
				arg += "..."
			}
			args = append(args, arg)
		}
	}
	call += "(" + strings.Join(args, ", ") + ")"
	if fn.Type.Results == nil {
		return fmt.Sprintf("case \"%d\": %s; return", number, call)
	}
	return fmt.Sprintf("case \"%d\": return %s", number, call)
}
