package preserve

import (
	"fmt"
	"slices"
	"strings"
)

// setMembers merges who is in which group: system accounts as the new image
// says, everybody else, and names that are no local account (a directory's),
// as the old system says.
func (m *merged) setMembers() {
	local := func(name string) bool {
		return slices.ContainsFunc(m.users, func(u user) bool { return u.name == name })
	}
	for i := range m.groups {
		g := &m.groups[i]
		var members []string
		add := func(name string) {
			if !slices.Contains(members, name) {
				members = append(members, name)
			}
		}
		if o := m.old.group(g.name); o != nil {
			for _, name := range o.members {
				if local(name) || m.old.user(name) == nil {
					add(name)
				}
			}
		}
		if n := m.new.group(g.name); n != nil {
			for _, name := range n.members {
				if local(name) && !m.fromOld[name] {
					add(name)
				}
			}
		}
		g.members = members
	}
}

// shadowLines returns the new shadow file: the old system's line for each
// account that came from there, byte for byte. A system account of both keeps
// the password that the old system's administrator set or locked.
func (m *merged) shadowLines() string {
	var out strings.Builder
	for _, u := range m.users {
		out.WriteString(m.shadowLine(u) + "\n")
	}
	return out.String()
}

func (m *merged) shadowLine(u user) string {
	o, n := m.old.user(u.name), m.new.user(u.name)
	if o != nil && (m.fromOld[u.name] || usableHash(m.old.hash(o))) {
		if o.password == "x" {
			if line, ok := m.old.shadow[u.name]; ok {
				return line
			}
			return u.name + ":!!:::::::" // no line, no password: say so
		}
		return u.name + ":" + o.password + ":::::::" // it lay in passwd
	}
	if n != nil {
		if line, ok := m.new.shadow[u.name]; ok {
			return line
		}
		if n.password != "x" && n.password != "" {
			return u.name + ":" + n.password + ":::::::"
		}
	}
	return u.name + ":!!:::::::"
}

// gshadowLines returns the new gshadow file: password and administrators from
// where the group came, members as in group.
func (m *merged) gshadowLines() string {
	var out strings.Builder
	for _, g := range m.groups {
		password, admins := "!", ""
		from := m.new
		if m.groupOld[g.name] {
			from = m.old
		}
		if line, ok := from.gshadow[g.name]; ok {
			f := strings.Split(line, ":")
			password, admins = f[1], f[2]
		}
		fmt.Fprintf(&out, "%s:%s:%s:%s\n", g.name, password, admins, strings.Join(g.members, ","))
	}
	return out.String()
}
