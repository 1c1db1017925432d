package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// unit is a statement that writes, with the check of its error if that is a
// statement of its own. It is a node from the first to the last of them.
type unit struct {
	ast.Stmt
	end     token.Pos
	guarded bool
}

// End implements ast.Node.
func (u unit) End() token.Pos { return u.end }

// moveStatements moves each writing statement behind the next one.
func (m *mutator) moveStatements(list []ast.Stmt) {
	var last *unit
	for i, s := range list {
		if _, clause := s.(*ast.CaseClause); clause {
			return
		}
		if does, _ := m.io(s); does == nothing {
			continue
		}
		u := m.unit(list[i:])
		if last != nil && m.across(last.Stmt, s) {
			m.move(*last, u)
		}
		last = &u
	}
}

// unit returns the first statement of a list with the check of its error.
func (m *mutator) unit(list []ast.Stmt) unit {
	u := unit{Stmt: list[0], end: list[0].End()}
	switch list[0].(type) {
	case *ast.IfStmt:
		u.guarded = true
	case *ast.AssignStmt:
		if len(list) < 2 {
			break
		}
		if check, ok := list[1].(*ast.IfStmt); ok && check.Init == nil && strings.Contains(m.text(check.Cond.Pos(), check.Cond.End()), "err") {
			u.end, u.guarded = check.End(), true
		}
	}
	return u
}

// move moves a behind b. What lies between the two may need a, or b what lies
// between: so it tries to take a down, and then to take b up.
func (m *mutator) move(a, b unit) {
	textA, textB := m.text(a.Pos(), a.end), m.text(b.Pos(), b.end)
	r, returns := b.Stmt.(*ast.ReturnStmt)
	if !returns {
		m.add(m.order(a.Stmt, b.Stmt), m.lines(a.Stmt, b.Stmt),
			[]edit{{a.Pos(), a.end, ""}, {b.end, b.end, "\n" + textA}},
			[]edit{{a.Pos(), a.Pos(), textB + "\n"}, {b.Pos(), b.end, ""}})
		return
	}
	// What is returned comes before a, and is returned after it.
	early, late, ok := m.split(r)
	if !ok || !a.guarded {
		return
	}
	m.add(m.order(a.Stmt, b.Stmt), m.lines(a.Stmt, b.Stmt),
		[]edit{{a.Pos(), a.end, ""}, {b.Pos(), b.end, early + "\n" + textA + "\n" + late}},
		[]edit{{a.Pos(), a.Pos(), early + "\n"}, {b.Pos(), b.end, late}})
}

// split makes two of the return of one call: the call, which returns if that
// fails, and the return.
func (m *mutator) split(r *ast.ReturnStmt) (early, late string, ok bool) {
	results := m.fn.Type.Results
	if results == nil || len(r.Results) == 0 {
		return "", "", false
	}
	call := r.Results[len(r.Results)-1]
	text := m.text(call.Pos(), call.End())
	switch {
	case results.NumFields() == 1:
		return fmt.Sprintf("if moved := %s; moved != nil {\nreturn moved\n}", text), "return nil", true
	case results.NumFields() == 2 && len(r.Results) == 1:
		return fmt.Sprintf("moved, movedErr := %s\nif movedErr != nil {\nreturn moved, movedErr\n}", text), "return moved, nil", true
	case results.NumFields() == 2:
		first := m.text(r.Results[0].Pos(), r.Results[0].End())
		return fmt.Sprintf("if moved := %s; moved != nil {\nreturn %s, moved\n}", text, first), fmt.Sprintf("return %s, nil", first), true
	}
	return "", "", false
}
