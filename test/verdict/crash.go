package main

import (
	"fmt"
	"io"
	"strings"
)

// crash sums up the lines that blockdevtest.Campaign logs.
type crash struct {
	out                        io.Writer
	points, violations, failed int
}

func (c *crash) event(e event) {
	if e.Action == "fail" && e.Test != "" {
		c.failed++
	}
	_, line, ok := strings.Cut(e.Output, ": crash: ")
	if e.Action != "output" || !ok {
		return
	}
	var points, violations int
	if _, err := fmt.Sscanf(line, "%d points, %d violations", &points, &violations); err != nil {
		return
	}
	c.points += points
	c.violations += violations
	fmt.Fprintf(c.out, "%s: %s", e.name(), line)
}

func (c *crash) sum(passed bool) bool {
	// A test that fails before, or without, a tally is a violation too.
	if !passed && c.violations == 0 {
		c.violations = max(1, c.failed)
	}
	fmt.Fprintf(c.out, "crash: %d points, %d violations\n", c.points, c.violations)
	return c.violations == 0
}
