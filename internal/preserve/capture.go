package preserve

import (
	"context"
	"io"
	"maps"
	"path"
	"slices"
)

// Capture writes what a restore may need of the old system to one archive,
// which ReadArchive makes a tree of again: a plan from it is the same as one
// from the system itself, on whatever kernel it is made: what the machine says
// of itself (Host) is in the archive.
func Capture(ctx context.Context, old Tree, policy *Policy, w io.Writer) error {
	entries, err := captureSet(ctx, old, policy)
	if err != nil {
		return failed("capturing the configuration", err)
	}
	host, err := policy.Host.complete(old)
	if err != nil {
		return err
	}
	a, err := newArchiveWriter(w, host)
	if err != nil {
		return failed("writing the capture archive", err)
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if err := ctx.Err(); err != nil {
			return failed("capturing the configuration", err)
		}
		if err := a.addFrom(old, entries[name]); err != nil {
			return failed("capturing the configuration", err)
		}
	}
	if err := a.finish(); err != nil {
		return failed("writing the capture archive", err)
	}
	return nil
}

// captureAlways is what every plan reads.
var captureAlways = []string{
	"etc/os-release", "usr/lib/os-release", "etc/centos-release", "etc/redhat-release", "etc/system-release",
	"etc/login.defs", "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow",
	defaultsFile, siteDir + "/**",
}

// captureSet collects the entries that handlers and rules name, with the
// directories and the links that lead to them.
func captureSet(ctx context.Context, old Tree, policy *Policy) (map[string]Entry, error) {
	set := map[string]Entry{}
	patterns := slices.Clone(captureAlways)
	rules := map[string]bool{}
	for _, h := range handlers() {
		if policy.Enabled(h.Name()) {
			patterns = append(patterns, h.Sources(old)...)
		}
	}
	for i := range policy.Rules {
		if !policy.Rules[i].Drop {
			patterns = append(patterns, policy.Rules[i].Pattern)
			rules[policy.Rules[i].Pattern] = true
		}
	}
	for _, pattern := range patterns {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		clean, err := cleanPattern(pattern)
		if err != nil {
			return nil, err
		}
		found, err := Find(old, clean)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if e.Kind == KindOther {
				continue
			}
			if r := policy.rule(e.Path); rules[pattern] && r != nil && r.Drop {
				continue // a handler may look at what it then does not carry
			}
			set[e.Path] = e
		}
		if err := addLinks(old, clean, set); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Collect(maps.Keys(set)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			e, err := old.Lstat(dir)
			if err != nil {
				return nil, err
			}
			set[dir] = e
		}
	}
	return set, nil
}

// addLinks adds the links on the way of a pattern's fixed directories.
func addLinks(old Tree, pattern string, set map[string]Entry) error {
	for dir := path.Dir(pattern); dir != "."; dir = path.Dir(dir) {
		e, err := old.Lstat(dir)
		if err != nil {
			continue // below a link: the link itself comes next
		}
		if e.Kind == KindSymlink && trusted(old, e) == nil {
			set[dir] = e
		}
	}
	return nil
}
