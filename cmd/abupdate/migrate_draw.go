package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/migrate"
)

// tierWords explain the tiers to people.
var tierWords = map[migrate.Tier]string{
	migrate.Carve:  "the old system stays whole and bootable until finish",
	migrate.Gather: "the old system is overwritten before the new one has been tried",
}

// layoutWords explain the layouts to people.
var layoutWords = map[migrate.Layout]string{
	migrate.L1: "MBR with LVM",
	migrate.L2: "MBR with plain partitions",
	migrate.L3: "MBR with one partition for all of the system",
	migrate.L4: "GPT with LVM",
	migrate.L5: "GPT with plain partitions",
}

func (a *app) printMigration(p *migrate.Plan) {
	a.printMigrationHead(p)
	a.drawEntries("now", p.System.Size, p.Now)
	a.drawEntries("in trial", p.System.Size, p.Trial)
	a.drawEntries("at the end", p.System.Size, p.End)
	if p.Layout != "" { // else there is nothing to plan for
		a.printSwitch(p)
		a.printData(p.Data, p.System.Live)
		a.printList("preserved", p.Preserved)
		a.printList("notes", p.Notes)
		a.printList("not looked into", p.Unseen)
	}
	if len(p.Refusals) == 0 {
		a.ui.Printf("\nThis device can be migrated. Nothing was changed.\n")
		return
	}
	a.ui.Printf("\nThis device cannot be migrated as it is. Nothing was changed.\n")
	for _, r := range p.Refusals {
		a.ui.Printf("  - %s\n", r.Reason)
		if r.Next != "" {
			a.ui.Printf("      → %s\n", r.Next)
		}
	}
}

func (a *app) printMigrationHead(p *migrate.Plan) {
	line := func(name, format string, args ...any) {
		a.ui.Printf("%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	s := p.System
	if s.Disk != "" {
		line("disk", "%s, %s", s.Disk, formatSize(s.Size))
	}
	machine := []string{s.Firmware}
	if s.CPULevel > 0 {
		machine = append(machine, fmt.Sprintf("x86-64-v%d", s.CPULevel))
	}
	if s.RAM > 0 {
		machine = append(machine, formatSize(s.RAM)+" of memory")
	}
	if p.Layout == "" {
		return
	}
	line("machine", "%s", strings.Join(machine, ", "))
	if s.OS != "" {
		line("system", "%s, kernel %s", s.OS, s.Kernel)
	}
	line("loader", "%s", s.Loader)
	if b := p.Bundle; b != nil {
		line("new", "%s %s, image %s (no signature was checked)", b.Product, b.Version, formatSize(b.ImageSize))
	}
	line("slots", "%s each", formatSize(p.SlotSize))
	if p.Layout != "" {
		line("layout", "%s: %s", p.Layout, layoutWords[p.Layout])
	}
	if p.Tier != "" {
		line("tier", "%s: %s", p.Tier, tierWords[p.Tier])
	}
	if t := p.Time; t != nil {
		line("time", "prepare about %s, without the device about %s (at 100 MB/s)", seconds(t.Prepare), seconds(t.Down))
	}
}

// seconds renders an estimate: nobody knows the seconds of it.
func seconds(n int64) string {
	d := time.Duration(n) * time.Second
	if d < 100*time.Second {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}

// drawEntries draws a disk. An example address has a ~, what is new a +.
func (a *app) drawEntries(title string, disk int64, entries []migrate.Entry) {
	const width = 24
	if len(entries) == 0 {
		return
	}
	a.ui.Printf("\n%s\n", title)
	for _, e := range entries {
		number, mark, about := "  ", " ", " "
		if e.Number > 0 {
			number = fmt.Sprintf("%2d", e.Number)
		}
		if e.New {
			mark = "+"
		}
		if e.Estimated {
			about = "~"
		}
		name := e.Name
		if e.Within {
			name = "  " + name
		}
		bar := strings.Repeat("█", min(width, max(1, int(e.Size*width/max(disk, 1)))))
		if e.Name == "free" {
			bar = strings.ReplaceAll(bar, "█", "░")
		}
		text := fmt.Sprintf("%s %s  %-18s %10s at %s%10s  %-*s %s", mark, number, name, formatSize(e.Size), about, formatSize(e.Start), width, bar, e.Holds)
		a.ui.Printf("%s\n", strings.TrimRight(text, " "))
	}
}

func (a *app) printSwitch(p *migrate.Plan) {
	if p.Switch == nil {
		return
	}
	a.ui.Printf("\nswitch\n  one write: %s\n  boot loader: %s\n", p.Switch.Write, p.Switch.Core)
	if p.Switch.Entries > 0 {
		a.ui.Printf("  second entry array: sector %d\n", p.Switch.Entries/512)
	}
}

func (a *app) printData(d *migrate.Data, live bool) {
	if d == nil {
		return
	}
	a.ui.Printf("\ncustomers' data\n")
	switch {
	case !live:
		a.ui.Printf("  not known: files of the root file system were not looked into\n")
	case len(d.Trees) == 0:
		a.ui.Printf("  none found\n")
	}
	for _, t := range d.Trees {
		detail := t.Detail
		if detail == "" {
			detail = "not settled"
		}
		a.ui.Printf("  %-8s %10s  %s: %s\n", t.Fate, formatSize(t.Bytes), t.Path, detail)
	}
}

func (a *app) printList(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	a.ui.Printf("\n%s\n", title)
	for _, l := range lines {
		a.ui.Printf("  - %s\n", l)
	}
}
