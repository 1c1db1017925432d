package preserve

import (
	"path"
	"slices"
	"strings"
)

// selinux carries the mode. The policy, and with it all labels, is the new
// system's.
type selinux struct{}

func (selinux) Name() string { return "selinux" }

const selinuxConfig = "etc/selinux/config"

// selinuxLocal are the local parts of a policy, where EL7 and where EL8 keeps
// them.
var selinuxLocal = []string{"etc/selinux/*/active/*.local", "etc/selinux/*/modules/active/*.local", "var/lib/selinux/*/active/*.local"}

func (selinux) Sources(Tree) []string {
	return append([]string{selinuxConfig, "etc/sysconfig/selinux"}, selinuxLocal...)
}

var selinuxModes = []string{"enforcing", "permissive", "disabled"}

func (s selinux) Plan(old, new Tree, p *Planner) error {
	p.Claim(selinuxConfig, "etc/sysconfig/selinux", "etc/selinux/**", "var/lib/selinux/**")
	if err := s.local(p); err != nil {
		return err
	}
	if p.Dropped(selinuxConfig) || !Exists(old, selinuxConfig) {
		return nil
	}
	text, there, err := treeText(new, selinuxConfig)
	if err != nil {
		return err
	}
	if !there {
		p.Note(Kept, absolute(selinuxConfig), "the new system has no SELinux")
		return nil
	}
	was, will := selinuxSetting(old, "SELINUX", "enforcing"), selinuxSetting(new, "SELINUX", "enforcing")
	switch {
	case !slices.Contains(selinuxModes, was):
		p.Note(Warning, absolute(selinuxConfig), "%.40q is no mode; the new system's stays: %s", was, will)
		return nil
	case was == will:
		return nil
	case p.asShipped(selinuxConfig):
		p.Note(Kept, absolute(selinuxConfig), "never changed on this device; the new system's mode is %s", will)
		return nil
	case was != "disabled" && !s.hasPolicy(new):
		p.Note(Warning, absolute(selinuxConfig), "was %s, but the new system has no policy; stays %s", was, will)
		return nil
	}
	p.Note(Carried, absolute(selinuxConfig), "%s", was)
	return p.rewrite(selinuxConfig, setShellValue(text, "SELINUX", was), 0o644)
}

func (selinux) hasPolicy(t Tree) bool {
	found, err := Find(t, path.Join("etc/selinux", literal(selinuxSetting(t, "SELINUXTYPE", "targeted")), "policy/policy.*"))
	return err == nil && len(found) > 0
}

// local warns of local changes to the policy: only semodule could put them
// into another one, and no program runs.
func (selinux) local(p *Planner) error {
	for _, pattern := range selinuxLocal {
		found, err := Find(p.old, pattern)
		if err != nil {
			return failed("looking for local SELinux settings", err)
		}
		for _, e := range found {
			text, _, err := p.oldText(e.Path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					p.Note(Warning, absolute(e.Path), "local settings of the policy are not carried; repeat them with semanage in the new system, or have the vendor put them into the image")
					break
				}
			}
		}
	}
	return nil
}

// setShellValue changes KEY=value in a text.
func setShellValue(text, key, value string) string {
	var out strings.Builder
	done := false
	for line := range strings.Lines(text) {
		if k, _, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimSpace(k) == key {
			line, done = key+"="+value+"\n", true
		}
		out.WriteString(line)
	}
	if !done {
		out.WriteString(key + "=" + value + "\n")
	}
	return out.String()
}

// selinuxSetting reads a setting of /etc/selinux/config.
func selinuxSetting(t Tree, key, otherwise string) string {
	text, _, err := treeText(t, selinuxConfig)
	if err != nil {
		return otherwise
	}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		v = strings.TrimSpace(v)
		if ok && strings.TrimSpace(k) == key && v != "" && !strings.ContainsAny(v, "/ \t") {
			otherwise = v
		}
	}
	return otherwise
}
