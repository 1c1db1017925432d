package preserve

import (
	"path"
	"strings"
)

// systemd units, as far as their state is configuration: links in
// /etc/systemd/system.

const unitLinks = "etc/systemd/system"

// unitInstalled tells whether a system has a unit.
func unitInstalled(t Tree, unit string) bool {
	_, ok := unitFile(t, unit)
	return ok
}

func unitFile(t Tree, unit string) (string, bool) {
	for _, dir := range []string{"usr/lib/systemd/system", "lib/systemd/system"} {
		if real, err := resolveTrusted(t, path.Join(dir, unit)); err == nil {
			if e, err := t.Lstat(real); err == nil && e.Kind == KindFile {
				return path.Join(dir, unit), true
			}
		}
	}
	return "", false
}

// wantedLinks returns the links that enable a unit.
func wantedLinks(t Tree, unit string) ([]string, error) {
	var list []string
	for _, pattern := range []string{unitLinks + "/*.wants/" + literal(unit), unitLinks + "/*.requires/" + literal(unit)} {
		found, err := Find(t, pattern)
		if err != nil {
			return nil, failed("looking for enabled units", err)
		}
		for _, e := range found {
			list = append(list, e.Path)
		}
	}
	return list, nil
}

func unitEnabled(t Tree, unit string) (bool, error) {
	links, err := wantedLinks(t, unit)
	return len(links) > 0, err
}

func unitMasked(t Tree, unit string) bool {
	target, err := t.Readlink(path.Join(unitLinks, unit))
	return err == nil && target == "/dev/null"
}

// carryUnitState makes a unit of the new system start at boot if, and only
// if, it does on the old one. It tells whether the unit will start.
func (p *Planner) carryUnitState(unit string) (bool, error) {
	if !unitInstalled(p.old, unit) || !unitInstalled(p.new, unit) {
		return unitEnabled(p.new, unit)
	}
	was, err := unitEnabled(p.old, unit)
	if err != nil {
		return false, err
	}
	will, err := unitEnabled(p.new, unit)
	if err != nil {
		return false, err
	}
	wasMasked, willMasked := unitMasked(p.old, unit), unitMasked(p.new, unit)
	link := path.Join(unitLinks, unit)
	switch {
	case wasMasked && !willMasked:
		p.Note(Carried, unit, "masked")
		return false, p.Symlink(link, "/dev/null")
	case !wasMasked && willMasked:
		if err := p.Remove(link); err != nil {
			return false, err
		}
	}
	switch {
	case was && !will:
		p.Note(Carried, unit, "enabled")
		return true, p.enableUnit(unit)
	case !was && will:
		p.Note(Carried, unit, "disabled")
		links, err := wantedLinks(p.new, unit)
		if err != nil {
			return false, err
		}
		for _, l := range links {
			if err := p.Remove(l); err != nil {
				return false, err
			}
		}
	}
	return was && !wasMasked, nil
}

// enableUnit plans the links that the unit's [Install] section asks for.
func (p *Planner) enableUnit(unit string) error {
	file, _ := unitFile(p.new, unit)
	text, _, err := treeText(p.new, file)
	if err != nil {
		return err
	}
	by := "multi-user.target"
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "WantedBy="); ok {
			if f := strings.Fields(v); len(f) > 0 && !strings.ContainsAny(f[0], "/%") {
				by = f[0]
			}
		}
	}
	return p.Symlink(path.Join(unitLinks, by+".wants", unit), "/usr/lib/systemd/system/"+unit)
}
