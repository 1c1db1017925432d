package preserve

import (
	"io/fs"
	"slices"
	"strings"
)

// users carries who may log in: passwd, shadow, group and gshadow merged by
// name, homes, and the keys in them.
type users struct{}

func (users) Name() string { return "users" }

var accountFiles = []string{"etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/subuid", "etc/subgid"}

func (users) Sources(old Tree) []string {
	list := slices.Clone(accountFiles)
	a, err := readAccounts(old)
	if err != nil {
		return list // Plan will say what is wrong
	}
	for i := range a.users {
		home, ok := homeOf(&a.users[i])
		if !ok {
			continue
		}
		list = append(list, literal(home), literal(home)+"/.ssh/**", literal(home)+"/.*rc", literal(home)+"/.*profile", literal(home)+"/.bash_logout")
	}
	return list
}

// literal makes a pattern of a path.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

func (h users) Plan(old, new Tree, p *Planner) error {
	for _, name := range accountFiles {
		p.Claim(name, name+"-")
	}
	m, err := p.accounts()
	if err != nil {
		return err
	}
	p.plan.Notes = append(p.plan.Notes, m.notes...)
	for _, bad := range m.old.bad {
		p.Note(Warning, "accounts", "not carried: %s", bad)
	}
	if len(m.old.users) == 0 {
		return p.Refuse("/etc/passwd", "the old system has no accounts", "")
	}
	if err := h.writeFiles(p, m); err != nil {
		return err
	}
	release := ReadRelease(new)
	for i := range m.users {
		u := &m.users[i]
		if m.fromOld[u.name] {
			h.describe(p, m, u, release)
		}
		if o := m.old.user(u.name); o != nil {
			if err := h.carryHome(p, m, o, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFiles plans the six files.
func (h users) writeFiles(p *Planner, m *merged) error {
	var passwd, group strings.Builder
	for _, u := range m.users {
		if m.fromOld[u.name] {
			u = h.fit(p, u)
			if u.password != "x" {
				u.password = "x" // its hash goes to shadow
			}
		}
		passwd.WriteString(u.line())
	}
	for _, g := range m.groups {
		group.WriteString(g.line())
	}
	files := []struct {
		name, content string
		mode          fs.FileMode
	}{
		{"etc/passwd", passwd.String(), 0o644},
		{"etc/shadow", m.shadowLines(), 0},
		{"etc/group", group.String(), 0o644},
		{"etc/gshadow", m.gshadowLines(), 0},
	}
	for _, f := range files {
		if err := p.rewrite(f.name, f.content, f.mode); err != nil {
			return err
		}
	}
	for _, name := range []string{"etc/subuid", "etc/subgid"} {
		if err := h.writeSub(p, m, name); err != nil {
			return err
		}
	}
	return nil
}

// rewrite plans a file with the owner and mode that it has in the new system,
// or else root's with this mode.
func (p *Planner) rewrite(name, content string, mode fs.FileMode) error {
	mode, uid, gid := modeOf(p.new, name, mode)
	return p.Write(name, []byte(content), mode, uid, gid)
}

// modeOf returns the mode and owner of a tree's file, or the mode given and root.
func modeOf(t Tree, name string, otherwise fs.FileMode) (mode fs.FileMode, uid, gid int) {
	if e, err := t.Lstat(name); err == nil && e.Kind == KindFile {
		return e.Mode, e.UID, e.GID
	}
	return otherwise, 0, 0
}

// fit makes an account of the old system one that works in the new: its
// shell must be there.
func (users) fit(p *Planner, u user) user {
	if u.shell == "" {
		return u // /bin/sh, always
	}
	if shell, err := Clean(u.shell); err == nil && strings.HasPrefix(u.shell, "/") {
		if real, err := Resolve(p.new, shell); err == nil {
			if e, err := p.new.Lstat(real); err == nil && e.Kind == KindFile {
				return u
			}
		}
	}
	to := "/bin/bash"
	if !loginShell(u.shell) {
		to = "/sbin/nologin"
	}
	p.Note(Translated, u.name, "its shell %q is not in the new system: %s", u.shell, to)
	u.shell = to
	return u
}

// describe notes what of an account is carried.
func (users) describe(p *Planner, m *merged, u *user, release Release) {
	o := m.old.user(u.name)
	hash := m.old.hash(o)
	what := "password kept"
	switch {
	case hash == "":
		what = "has no password: anybody may log in where the system allows it"
	case !usableHash(hash):
		what = "no password"
	case hash[0] == '!' || hash[0] == '*':
		what = "password kept, and locked"
	}
	if f := strings.Split(m.old.shadow[u.name], ":"); len(f) == 9 && f[7] != "" {
		what += ", expiry date kept"
	}
	p.Note(Carried, u.name, "UID %d, %s", u.uid, what)
	if kind := newHash(hash); kind != "" && release.Major == 7 {
		p.Note(Warning, u.name, "its password hash (%s) cannot be read by the new system: no login by password", kind)
	}
}

// newHash returns the prefix of a hash that glibc's own crypt, EL7's, does not
// know; "" for others.
func newHash(hash string) string {
	hash = strings.TrimLeft(hash, "!*")
	for _, prefix := range []string{"$y$", "$gy$", "$7$", "$2a$", "$2b$", "$2y$"} {
		if strings.HasPrefix(hash, prefix) {
			return prefix
		}
	}
	return ""
}

// writeSub plans subuid or subgid: the old system's lines for accounts that
// come from there, the new one's for the others.
func (users) writeSub(p *Planner, m *merged, name string) error {
	pick := func(t Tree, fromOld bool) (string, error) {
		text, err := readOptional(t, name, maxConfig)
		if err != nil {
			return "", failed("reading "+absolute(name), err)
		}
		var out strings.Builder
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			who, _, ok := strings.Cut(line, ":")
			if ok && strings.Count(line, ":") == 2 && m.fromOld[who] == fromOld && slices.ContainsFunc(m.users, func(u user) bool { return u.name == who }) {
				out.WriteString(line + "\n")
			}
		}
		return out.String(), nil
	}
	old, err := pick(p.old, true)
	if err != nil {
		return err
	}
	new, err := pick(p.new, false)
	if err != nil {
		return err
	}
	if old == "" && !Exists(p.new, name) {
		return nil
	}
	return p.rewrite(name, old+new, 0o644)
}
