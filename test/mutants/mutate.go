package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// barriers are the calls after which what was written before is durable, and
// what is left of them without that.
var barriers = map[string]string{
	"Sync":        "error(nil)",
	"sync":        "error(nil)",
	"writeSynced": "write",
}

// plain are the calls that write and leave it to a barrier to make that
// durable. The disk orders them as it likes: to let two of them trade places
// is no mutant.
var plain = []string{"WriteAt", "write", "put", "Zero", "ZeroRange", "writeRest", "WriteFrame"}

// durable are the calls that end in a barrier, up to the steps of an update.
var durable = []string{
	"begin", "Finish", "WriteSectors", "writeSectors", "writeEnv", "resync", "repairHeaders", "writeHeaders", "writeRecord",
	"SetState", "SetArgs", "InvalidateArgs", "SetRecord",
	"setBoot", "setRecord", "record", "storeChanged", "store", "claimTarget", "arm", "drop", "disarm", "readBack",
	"save", "Apply", "giveUpOld", "repartition", "MakeData", "captureArchive", "streamFrames", "giveTrial",
}

// mutant is a source file with one change.
type mutant struct {
	name   string // file, function, kind and number: it survives edits elsewhere
	what   string
	file   string
	source []byte
}

// mutator finds the mutants of a file.
type mutator struct {
	fset    *token.FileSet
	file    string
	src     []byte
	fn      *ast.FuncDecl
	numbers map[string]int
	found   []mutant
}

func mutate(file string) ([]mutant, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := &mutator{fset: token.NewFileSet(), file: filepath.ToSlash(file), src: src}
	f, err := parser.ParseFile(m.fset, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			m.fn, m.numbers = fn, make(map[string]int)
			ast.Inspect(fn.Body, m.visit)
		}
	}
	return m.found, nil
}

func (m *mutator) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		m.drop(n)
		for i := range len(n.Args) - 1 { // errors.Join(write(), write())
			if m.across(n.Args[i], n.Args[i+1]) {
				m.swap(n.Args[i], n.Args[i+1], m.text(n.Args[i]), m.text(n.Args[i+1]))
			}
		}
	case *ast.BlockStmt:
		m.swapStatements(n.List)
	case *ast.CaseClause:
		m.swapStatements(n.Body)
	}
	return true
}

// drop takes a barrier away.
func (m *mutator) drop(call *ast.CallExpr) {
	without, ok := barriers[called(call)]
	if !ok {
		return
	}
	if without != "error(nil)" {
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return
		}
		m.add("drop", fmt.Sprintf("line %d: %s is not synced", m.line(call), m.text(call)),
			edit{sel.Sel.Pos(), sel.Sel.End(), without})
		return
	}
	m.add("drop", fmt.Sprintf("line %d: no %s", m.line(call), m.text(call)), edit{call.Pos(), call.End(), without})
}

// swapStatements lets each writing statement and the next one trade places.
func (m *mutator) swapStatements(list []ast.Stmt) {
	var last ast.Stmt
	for _, s := range list {
		if _, clause := s.(*ast.CaseClause); clause || m.io(s) == nothing {
			continue
		}
		if last != nil && m.across(last, s) {
			if r, ok := s.(*ast.ReturnStmt); !ok {
				m.swap(last, s, m.text(last), m.text(s))
			} else if _, isIf := last.(*ast.IfStmt); isIf && len(r.Results) == 1 && m.single() {
				m.swap(last, r, m.text(last)+"\n\treturn nil",
					fmt.Sprintf("if swapped := %s; swapped != nil {\n\treturn swapped\n}", m.text(r.Results[0])))
			}
		}
		last = s
	}
}

// single reports whether the function returns an error and nothing else, by
// no name.
func (m *mutator) single() bool {
	r := m.fn.Type.Results
	return r != nil && len(r.List) == 1 && m.text(r.List[0].Type) == "error"
}

// swap puts textB in the place of a and textA in the place of b.
func (m *mutator) swap(a, b ast.Node, textA, textB string) {
	m.add("swap", fmt.Sprintf("line %d before line %d: %s", m.line(b), m.line(a), firstLine(m.text(b))),
		edit{a.Pos(), a.End(), textB}, edit{b.Pos(), b.End(), textA})
}

// edit is a piece of the source and what comes in its place.
type edit struct {
	from, to token.Pos
	text     string
}

func (m *mutator) add(kind, what string, edits ...edit) {
	name := m.fn.Name.Name
	m.numbers[kind]++
	out := slices.Clone(m.src)
	for _, e := range slices.Backward(edits) {
		out = slices.Concat(out[:m.offset(e.from)], []byte(e.text), out[m.offset(e.to):])
	}
	m.found = append(m.found, mutant{
		name: fmt.Sprintf("%s %s %s %d", m.file, name, kind, m.numbers[kind]), what: what, file: m.file, source: out,
	})
}

// access is what a statement or an expression does to the disk.
type access uint8

const (
	nothing access = iota
	writes
	syncs
)

// across reports whether to swap two statements moves a write across a barrier.
func (m *mutator) across(a, b ast.Node) bool {
	return m.io(a) != nothing && m.io(b) != nothing && (m.io(a) == syncs || m.io(b) == syncs)
}

// io returns what a statement or an expression itself does.
func (m *mutator) io(n ast.Node) access {
	found := nothing
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit, *ast.DeferStmt:
			return false
		case *ast.CallExpr:
			_, barrier := barriers[called(n)]
			switch {
			case barrier || slices.Contains(durable, called(n)):
				found = syncs
			case slices.Contains(plain, called(n)):
				found = max(found, writes)
			}
		}
		return true
	})
	return found
}

// called returns the last name of what is called.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func (m *mutator) offset(p token.Pos) int { return m.fset.Position(p).Offset }

func (m *mutator) line(n ast.Node) int { return m.fset.Position(n.Pos()).Line }

func (m *mutator) text(n ast.Node) string { return string(m.src[m.offset(n.Pos()):m.offset(n.End())]) }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(line, " {")
}
