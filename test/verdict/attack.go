package main

import (
	"fmt"
	"io"
	"strings"
)

// attack lists the tests named TestAttack_….
type attack struct {
	out           io.Writer
	total, failed int
}

func (a *attack) event(e event) {
	name, ok := strings.CutPrefix(e.Test, "TestAttack_")
	if !ok || strings.Contains(name, "/") {
		return
	}
	verdict := ""
	switch e.Action {
	case "pass":
		verdict = "refused"
	case "fail":
		verdict = "NOT REFUSED"
		a.failed++
	case "skip":
		verdict = "NOT TRIED"
		a.failed++
	default:
		return
	}
	a.total++
	where := e.Package[strings.LastIndex(e.Package, "abupdate/")+len("abupdate/"):]
	fmt.Fprintf(a.out, "%-11s  %-40s %s\n", verdict, name, where)
}

func (a *attack) sum(passed bool) bool {
	fmt.Fprintf(a.out, "attack: %d attacks, %d not refused\n", a.total, a.failed)
	return passed && a.failed == 0
}
