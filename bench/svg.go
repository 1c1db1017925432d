package main

import (
	"fmt"
	"strings"
)

// svg draws one bar for each row of each table: CPU seconds where the job is
// work, MB where it is transfer or size.
func (r *report) svg() string {
	const (
		width, label = 860, 250
		bar, gap     = 16, 6
	)
	var s strings.Builder
	y := 10
	for _, t := range r.tables {
		c := t.drawn()
		most := 0.0
		for _, r := range t.rows {
			most = max(most, c.of(r.usage))
		}
		if most == 0 {
			continue
		}
		y += 22
		fmt.Fprintf(&s, `<text x="10" y="%d" font-weight="bold">%s: %s</text>`+"\n", y, escape(t.title), c.title)
		y += gap + 2
		for _, r := range t.rows {
			v := c.of(r.usage)
			if v == 0 {
				continue
			}
			fill := "#9aa5b1"
			if strings.HasPrefix(r.name, "abupdate") {
				fill = "#2f7d4f"
			}
			w := v / most * (width - label - 90)
			fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", label-8, y+bar-4, escape(r.name))
			fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", label, y, w, bar, fill)
			fmt.Fprintf(&s, `<text x="%.1f" y="%d">%s</text>`+"\n", float64(label)+w+6, y+bar-4, fmt.Sprintf(c.show, v))
			y += bar + gap
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n"+
		`<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n%s</svg>\n", width, y+12, s.String())
}

// drawn is the column that a table is about.
func (t *table) drawn() column {
	for _, i := range []int{4, 6, 0} { // fetched, size, CPU
		for _, r := range t.rows {
			if columns[i].of(r.usage) != 0 {
				return columns[i]
			}
		}
	}
	return columns[0]
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
