package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// report is what a run found.
type report struct {
	tables []*table
	lacks  []string // Debian packages that are not installed
}

// table is one job and how the contestants did it.
type table struct {
	title   string
	against []string // contestants that the ratios are against
	rows    []row
}

type row struct {
	name, command string
	usage
}

func newReport() *report { return &report{} }

// say prints how far the run is.
func (r *report) say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (r *report) absent(pkg string) {
	if !slices.Contains(r.lacks, pkg) {
		r.lacks = append(r.lacks, pkg)
		r.say("not installed, left out: Debian package %s", pkg)
	}
}

func (r *report) table(title string, against ...string) *table {
	t := &table{title: title, against: against}
	r.tables = append(r.tables, t)
	return t
}

// column is a figure of a row; an empty text means that it has none.
type column struct {
	title string
	of    func(usage) float64
	show  string
	ratio bool // shown against other rows
}

var columns = []column{
	{"CPU s", func(u usage) float64 { return u.cpu.Seconds() }, "%.2f", true},
	{"wall s", func(u usage) float64 { return u.wall.Seconds() }, "%.2f", true},
	{"RSS MiB", func(u usage) float64 { return mib(u.rss) }, "%.0f", false},
	{"written MB", func(u usage) float64 { return mb(u.written) }, "%.0f", false},
	{"fetched MB", func(u usage) float64 { return mb(u.fetched) }, "%.2f", true},
	{"requests", func(u usage) float64 { return float64(u.requests) }, "%.0f", false},
	{"size MB", func(u usage) float64 { return mb(u.size) }, "%.2f", true},
}

func (r *report) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Machine: %s.\n", machine())
	for _, name := range r.lacks {
		fmt.Fprintf(&s, "Not installed, left out: %s.\n", name)
	}
	for _, t := range r.tables {
		fmt.Fprintf(&s, "\n### %s\n\n%s", t.title, t.markdown())
	}
	return s.String()
}

// markdown shows the columns that have a figure, and the ratios.
func (t *table) markdown() string {
	var used []column
	for _, c := range columns {
		if slices.ContainsFunc(t.rows, func(r row) bool { return c.of(r.usage) != 0 }) {
			used = append(used, c)
		}
	}
	head := []string{""}
	for _, c := range used {
		head = append(head, c.title)
	}
	for _, a := range t.against {
		for _, c := range used {
			if _, ok := t.row(a); ok && c.ratio {
				head = append(head, strings.Fields(c.title)[0]+" ÷ "+a)
			}
		}
	}
	var s strings.Builder
	line := func(cells []string) { fmt.Fprintf(&s, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	line(append([]string{"---"}, slices.Repeat([]string{"---:"}, len(head)-1)...))
	for _, r := range t.rows {
		line(t.cells(r, used))
	}
	s.WriteString("\n")
	for _, r := range t.rows {
		fmt.Fprintf(&s, "- %s: `%s`\n", r.name, r.command)
	}
	return s.String()
}

func (t *table) cells(r row, used []column) []string {
	cells := []string{r.name}
	for _, c := range used {
		if v := c.of(r.usage); v != 0 {
			cells = append(cells, fmt.Sprintf(c.show, v))
		} else {
			cells = append(cells, "")
		}
	}
	for _, a := range t.against {
		other, ok := t.row(a)
		for _, c := range used {
			if !ok || !c.ratio {
				continue
			}
			if v, w := c.of(r.usage), c.of(other.usage); v != 0 && w != 0 {
				cells = append(cells, fmt.Sprintf("%.2f", v/w))
			} else {
				cells = append(cells, "")
			}
		}
	}
	return cells
}

func (t *table) row(name string) (row, bool) {
	i := slices.IndexFunc(t.rows, func(r row) bool { return r.name == name })
	if i < 0 {
		return row{}, false
	}
	return t.rows[i], true
}

// machine describes the machine in general words.
func machine() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	model := "unknown CPU"
	if err == nil {
		if _, rest, ok := strings.Cut(string(info), "model name"); ok {
			model, _, _ = strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
		}
	}
	extras := ""
	for _, flag := range []string{"sha_ni", "avx512f", "hypervisor"} {
		if strings.Contains(string(info), " "+flag) {
			extras += ", " + flag
		}
	}
	return fmt.Sprintf("%d × %s%s", runtime.NumCPU(), model, extras)
}

// save writes the tables and the picture to a directory.
func (r *report) save(dir string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "performance-results.md"), []byte(r.markdown()), 0o644),
		os.WriteFile(filepath.Join(dir, "performance.svg"), []byte(r.svg()), 0o644),
	)
}
