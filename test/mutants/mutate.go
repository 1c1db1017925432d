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
var plain = []string{"WriteAt", "write", "put", "Zero", "ZeroRange", "writeRest", "writeFirstGroup", "WriteFrame"}

// durable are the calls that end in a barrier, up to the steps of an update and
// of a migration.
var durable = []string{
	"begin", "Finish", "WriteSectors", "writeSectors", "writeEnv", "resync", "repairHeaders", "writeHeaders", "writeRecord",
	"SetState", "SetArgs", "InvalidateArgs", "SetRecord", "j.Record", "started.Record",
	"setBoot", "setRecord", "record", "storeChanged", "store", "claimTarget", "arm", "drop", "disarm", "readBack",
	"save", "Apply", "withSlot", "withMounted", "restore", "restoreFrom", "copyData", "captureArchive", "streamFrames", "giveTrial",
	"writeJournalFile", "handOver", "Parity", "saveStarted", "migratorNext", "forget",
	"secure", "SecureLoaders", "carry", "Carry", "giveUpOld", "repartition", "MakeData", "Write", "conclude",
}

// mutant is a function with one change.
type mutant struct {
	name string // file, function and what was done: it survives edits elsewhere
	what string
	fn   *ast.FuncDecl
	// ways to make the same change; the first that compiles counts.
	ways [][]edit
}

// mutator finds the mutants of a file.
type mutator struct {
	fset   *token.FileSet
	file   string
	src    []byte
	syntax *ast.File
	fn     *ast.FuncDecl
	names  map[string]int
	found  []*mutant
}

func mutate(file string) (*mutator, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := &mutator{fset: token.NewFileSet(), file: filepath.ToSlash(file), src: src, names: make(map[string]int)}
	if m.syntax, err = parser.ParseFile(m.fset, file, src, parser.SkipObjectResolution); err != nil {
		return nil, err
	}
	for _, d := range m.syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			m.fn = fn
			ast.Inspect(fn.Body, m.visit)
		}
	}
	return m, nil
}

func (m *mutator) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		m.drop(n)
		m.swapExpressions(n.Args) // errors.Join(write(), write())
	case *ast.CompositeLit:
		m.swapExpressions(n.Elts) // []func() error{write, write}
	case *ast.BlockStmt:
		m.moveStatements(n.List)
	case *ast.CaseClause:
		m.moveStatements(n.Body)
	}
	return true
}

// drop takes a barrier away.
func (m *mutator) drop(call *ast.CallExpr) {
	without, ok := barriers[last(call.Fun)]
	if !ok {
		return
	}
	e := edit{call.Pos(), call.End(), without}
	if without != "error(nil)" {
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return
		}
		e = edit{sel.Sel.Pos(), sel.Sel.End(), without}
	}
	m.add("without "+last(call.Fun), fmt.Sprintf("line %d: no %s", m.line(call), m.text(call.Pos(), call.End())), []edit{e})
}

// swapExpressions lets each writing expression and the next one trade places.
func (m *mutator) swapExpressions(list []ast.Expr) {
	for i := range len(list) - 1 {
		a, b := list[i], list[i+1]
		if m.across(a, b) {
			m.add(m.order(a, b), m.lines(a, b),
				[]edit{{a.Pos(), a.End(), m.text(b.Pos(), b.End())}, {b.Pos(), b.End(), m.text(a.Pos(), a.End())}})
		}
	}
}

// edit is a piece of the source and what comes in its place.
type edit struct {
	from, to token.Pos
	text     string
}

// add notes a mutant, made by one or the other list of edits in the order of
// the source.
func (m *mutator) add(change, what string, ways ...[]edit) {
	name := fmt.Sprintf("%s %s %s", m.file, m.fn.Name.Name, change)
	if m.names[name]++; m.names[name] > 1 {
		name = fmt.Sprintf("%s (%d)", name, m.names[name])
	}
	m.found = append(m.found, &mutant{name: name, what: what, fn: m.fn, ways: ways})
}

// edited returns the source of a function with edits, in their order.
func (m *mutator) edited(fn *ast.FuncDecl, edits []edit) string {
	var b strings.Builder
	at := fn.Pos()
	for _, e := range edits {
		b.WriteString(m.text(at, e.from) + e.text)
		at = e.to
	}
	b.WriteString(m.text(at, fn.End()))
	return b.String()
}

// access is what a statement or an expression does to the disk.
type access uint8

const (
	nothing access = iota
	writes
	syncs
)

// across reports whether a and b in another order are a write moved across a
// barrier.
func (m *mutator) across(a, b ast.Node) bool {
	doesA, _ := m.io(a)
	doesB, _ := m.io(b)
	return doesA != nothing && doesB != nothing && (doesA == syncs || doesB == syncs)
}

// io returns what a node does, and the call that does it.
func (m *mutator) io(n ast.Node) (does access, by string) {
	note := func(f ast.Expr) {
		name := last(f)
		_, barrier := barriers[name]
		switch {
		case barrier || slices.Contains(durable, name) || slices.Contains(durable, m.text(f.Pos(), f.End())):
			does, by = syncs, name
		case does == nothing && slices.Contains(plain, name):
			does, by = writes, name
		}
	}
	if step, ok := n.(*ast.SelectorExpr); ok { // one of a list of steps, st.saveStarted
		note(step)
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.DeferStmt:
			return false
		case *ast.AssignStmt:
			_, isFunc := n.Rhs[0].(*ast.FuncLit)
			return !isFunc // called later
		case *ast.CallExpr:
			note(n.Fun)
		}
		return true
	})
	return does, by
}

// last returns the last name of what is called.
func last(f ast.Expr) string {
	switch f := f.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// order says what was done in a mutant's name.
func (m *mutator) order(a, b ast.Node) string {
	_, byA := m.io(a)
	_, byB := m.io(b)
	return byA + " after " + byB
}

func (m *mutator) lines(a, b ast.Node) string {
	line, _, _ := strings.Cut(m.text(b.Pos(), b.End()), "\n")
	return fmt.Sprintf("line %d after line %d: %s", m.line(a), m.line(b), strings.TrimSuffix(line, " {"))
}

func (m *mutator) offset(p token.Pos) int { return m.fset.Position(p).Offset }

func (m *mutator) line(n ast.Node) int { return m.fset.Position(n.Pos()).Line }

func (m *mutator) text(from, to token.Pos) string { return string(m.src[m.offset(from):m.offset(to)]) }
