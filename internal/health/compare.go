package health

import (
	"slices"
	"strings"
)

// Verdict is what results mean against a baseline. Each result that failed is
// in one of the lists.
type Verdict struct {
	// Failed are required checks that failed and did not fail before.
	Failed []Result `json:"failed"`
	// Warnings are the same of wanted checks.
	Warnings []Result `json:"warnings"`
	// Excused failed before the update too.
	Excused []Result `json:"excused"`
}

// OK reports whether the system may be kept.
func (v Verdict) OK() bool { return len(v.Failed) == 0 }

// String names what failed, for a log and a history.
func (v Verdict) String() string {
	if v.OK() {
		return "healthy"
	}
	var lines []string
	for _, r := range v.Failed {
		lines = append(lines, r.Name+": "+r.Detail)
	}
	return strings.Join(lines, "; ")
}

// Compare judges now against before. A check that before does not know, such
// as one that came with the update, is not excused.
func Compare(before Baseline, now []Result) Verdict {
	v := Verdict{Failed: []Result{}, Warnings: []Result{}, Excused: []Result{}}
	for _, r := range now {
		switch {
		case r.OK:
		case slices.Contains(before.Failed, r.Name):
			v.Excused = append(v.Excused, r)
		case r.Required:
			v.Failed = append(v.Failed, r)
		default:
			v.Warnings = append(v.Warnings, r)
		}
	}
	return v
}
