package preserve

import (
	"fmt"
	"slices"
	"strings"
)

// merged is the account database of the new system, and what becomes of the
// old system's ids in it.
type merged struct {
	old, new   *accounts
	users      []user
	groups     []group
	fromOld    map[string]bool // accounts that came from the old system
	groupOld   map[string]bool // groups that did
	renumbered map[int]int     // uid of the new image → uid now
	regrouped  map[int]int     // gid of the new image → gid now
	uids       map[int]int     // uid on the old system → uid now
	gids       map[int]int
	orphans    []int // uids of accounts of the new image that were left out
	notes      []Note
}

func (m *merged) note(kind NoteKind, subject, format string, args ...any) {
	m.notes = append(m.notes, Note{Kind: kind, Handler: "users", Subject: subject, Detail: fmt.Sprintf(format, args...)})
}

// mergeAccounts merges two databases by name: UID 0 and humans come from the
// old system, system accounts from the new one. Where numbers clash, the new
// system's account gets another one: humans' files lie on disks that no
// update touches.
//
// Merging the result again with the same old database changes nothing: an
// interrupted restore may be repeated over its own traces.
func mergeAccounts(old, new *accounts) *merged {
	m := &merged{
		old: old, new: new, fromOld: map[string]bool{}, groupOld: map[string]bool{},
		renumbered: map[int]int{}, regrouped: map[int]int{}, uids: map[int]int{}, gids: map[int]int{},
	}
	m.chooseUsers()
	m.chooseGroups()
	m.separateUsers()
	m.disown()
	m.separateGroups()
	m.mapIDs()
	m.setMembers()
	return m
}

// carried tells whether an account of the old system is one to carry.
func (m *merged) carried(u *user) bool {
	n := m.new.user(u.name)
	switch {
	case u.uid == 0:
		// Nothing that the new system runs as an account without rights may
		// become root because the old system had it so.
		return n == nil || n.uid == 0
	case m.old.human(u.uid):
		return true
	case n != nil:
		return false
	}
	// A system account that the new image does not have: carried only if
	// somebody can log in to it, or set its password.
	return usableHash(m.old.hash(u))
}

func (m *merged) chooseUsers() {
	hasRoot := slices.ContainsFunc(m.old.users, func(u user) bool { return u.uid == 0 && m.carried(&u) })
	for i := range m.new.users {
		n := m.new.users[i]
		o := m.old.user(n.name)
		switch {
		case o != nil && m.carried(o):
			m.users = append(m.users, *o)
			m.fromOld[n.name] = true
			if o.uid != n.uid {
				m.renumbered[n.uid] = o.uid
			}
		case n.uid == 0 && hasRoot:
			m.note(Dropped, n.name, "an account with UID 0 of the new image: those come from the old system")
		case o == nil && m.new.human(n.uid) && m.new.login(&n):
			m.note(Dropped, n.name, "an account of the new image that this device does not have")
			m.orphans = append(m.orphans, n.uid)
		default:
			m.users = append(m.users, n)
			if o != nil && o.uid == 0 {
				m.note(Warning, n.name, "has UID 0 on the old system, and is a system account in the new one: stays that")
			}
		}
	}
	for i := range m.old.users {
		o := m.old.users[i]
		switch {
		case m.fromOld[o.name]:
		case m.carried(&o):
			m.users = append(m.users, o)
			m.fromOld[o.name] = true
		case m.new.user(o.name) == nil:
			m.note(Dropped, o.name, "a system account that the new image does not have, and without a password")
		}
	}
	for _, u := range m.users {
		if m.fromOld[u.name] && u.uid == 0 && u.name != "root" {
			m.note(Warning, u.name, "is a second account with UID 0; carried as it was")
		}
	}
}

// wanted tells whether a group of the old system is one to carry.
func (m *merged) wanted(g *group) bool {
	if m.old.people(g.gid) {
		return true
	}
	if m.new.group(g.name) != nil {
		return false
	}
	for _, u := range m.users {
		if m.fromOld[u.name] && (u.gid == g.gid || slices.Contains(g.members, u.name)) {
			return true
		}
	}
	return false
}

func (m *merged) chooseGroups() {
	for i := range m.new.groups {
		n := m.new.groups[i]
		o := m.old.group(n.name)
		switch {
		case o != nil && m.wanted(o):
			m.groups = append(m.groups, *o)
			m.groupOld[n.name] = true
			if o.gid != n.gid {
				m.regrouped[n.gid] = o.gid
			}
		case o == nil && m.new.people(n.gid) && !m.usedBySystem(&n):
			m.note(Dropped, n.name, "a group of the new image that this device does not have")
		default:
			m.groups = append(m.groups, n)
		}
	}
	for i := range m.old.groups {
		o := m.old.groups[i]
		if !m.groupOld[o.name] && m.wanted(&o) {
			m.groups = append(m.groups, o)
			m.groupOld[o.name] = true
		}
	}
}

// usedBySystem tells whether an account that stays from the new image is in
// this group of the new image.
func (m *merged) usedBySystem(g *group) bool {
	return slices.ContainsFunc(m.users, func(u user) bool {
		return !m.fromOld[u.name] && (u.gid == g.gid || slices.Contains(g.members, u.name))
	})
}

// separateUsers gives another number to each account that has one of an
// account from the old system: to those of the new image, and to system
// accounts of the old one that clash with a human.
func (m *merged) separateUsers() {
	taken := map[int]bool{}
	for _, u := range m.users {
		if m.fromOld[u.name] && (u.uid == 0 || m.old.human(u.uid)) {
			taken[u.uid] = true
		}
	}
	shared := map[int]bool{} // numbers that the new image itself gives to several names
	for i := range m.users {
		u := &m.users[i]
		if m.fromOld[u.name] || !taken[u.uid] {
			if !m.fromOld[u.name] {
				shared[u.uid] = true
			}
			continue
		}
		if u.uid == 0 {
			continue
		}
		to, seen := m.renumbered[u.uid]
		if !seen {
			to = m.freeID(func(id int) bool { return taken[id] || m.usesUID(id) })
			m.renumbered[u.uid] = to
		}
		m.note(Translated, u.name, "a system account of the new image: UID %d is %s's here, it becomes %d", u.uid, m.nameOf(u.uid), to)
		u.uid = to
		shared[to] = true
	}
	for i := range m.users {
		u := &m.users[i]
		if !m.fromOld[u.name] || taken[u.uid] || u.uid == 0 || m.old.human(u.uid) || !shared[u.uid] {
			continue
		}
		to := m.freeID(func(id int) bool { return taken[id] || m.usesUID(id) })
		m.note(Warning, u.name, "UID %d is another account's in the new system; it becomes %d. Files outside of the preserve set keep the old number", u.uid, to)
		m.uids[u.uid] = to
		u.uid = to
	}
}

func (m *merged) separateGroups() {
	taken := map[int]bool{}
	for _, g := range m.groups {
		if m.groupOld[g.name] && (g.gid == 0 || m.old.people(g.gid)) {
			taken[g.gid] = true
		}
	}
	shared := map[int]bool{}
	for i := range m.groups {
		g := &m.groups[i]
		if m.groupOld[g.name] || !taken[g.gid] || g.gid == 0 {
			if !m.groupOld[g.name] {
				shared[g.gid] = true
			}
			continue
		}
		to, seen := m.regrouped[g.gid]
		if !seen {
			to = m.freeID(func(id int) bool { return taken[id] || m.usesGID(id) })
			m.regrouped[g.gid] = to
		}
		m.note(Translated, g.name, "a system group of the new image: GID %d is taken here, it becomes %d", g.gid, to)
		g.gid = to
		shared[to] = true
	}
	for i := range m.groups {
		g := &m.groups[i]
		if !m.groupOld[g.name] || taken[g.gid] || !shared[g.gid] {
			continue
		}
		to := m.freeID(func(id int) bool { return taken[id] || m.usesGID(id) })
		m.note(Warning, g.name, "GID %d is another group's in the new system; it becomes %d. Files outside of the preserve set keep the old number", g.gid, to)
		m.gids[g.gid] = to
		g.gid = to
	}
}

// disown gives the files of accounts that were left out to root, where the
// old system has somebody else under their number.
func (m *merged) disown() {
	for _, uid := range m.orphans {
		_, moved := m.renumbered[uid]
		if !moved && slices.ContainsFunc(m.users, func(u user) bool { return u.uid == uid }) {
			m.renumbered[uid] = 0
		}
	}
}

// freeID finds a system id that nobody has, from the top, as useradd -r does.
func (m *merged) freeID(used func(int) bool) int {
	top := min(m.new.uidMin, m.old.uidMin, 1000) - 1
	for id := top; id > 100; id-- {
		if !used(id) {
			return id
		}
	}
	for id := 60001; ; id++ { // above all humans: systemd gives none of these before 61184
		if !used(id) {
			return id
		}
	}
}

// usesUID tells whether a number is anybody's, in either system: a renumbered
// account must not inherit the files of another.
func (m *merged) usesUID(id int) bool {
	has := func(u user) bool { return u.uid == id }
	return slices.ContainsFunc(m.users, has) || slices.ContainsFunc(m.new.users, has) || slices.ContainsFunc(m.old.users, has)
}

func (m *merged) usesGID(id int) bool {
	has := func(g group) bool { return g.gid == id }
	return slices.ContainsFunc(m.groups, has) || slices.ContainsFunc(m.new.groups, has) || slices.ContainsFunc(m.old.groups, has)
}

func (m *merged) nameOf(uid int) string {
	for _, u := range m.users {
		if m.fromOld[u.name] && u.uid == uid {
			return u.name
		}
	}
	return "another account"
}

// mapIDs says what the old system's ids are in the new one, by name, and
// moves primary groups along.
func (m *merged) mapIDs() {
	m.uids[0], m.gids[0] = 0, 0
	m.uids[overflowID], m.gids[overflowID] = overflowID, overflowID
	for _, o := range m.old.users {
		if _, ok := m.uids[o.uid]; ok {
			continue
		}
		for _, u := range m.users {
			if u.name == o.name {
				m.uids[o.uid] = u.uid
			}
		}
	}
	for _, o := range m.old.groups {
		if _, ok := m.gids[o.gid]; ok {
			continue
		}
		for _, g := range m.groups {
			if g.name == o.name {
				m.gids[o.gid] = g.gid
			}
		}
	}
	for i := range m.users {
		u := &m.users[i]
		if m.fromOld[u.name] {
			u.gid = m.gid(u.gid)
		} else if gid, ok := m.regrouped[u.gid]; ok {
			u.gid = gid
		}
	}
}

// uid is what a number of the old system is in the new one. One that is
// nobody's stays, unless it is somebody's now: then it is root's.
func (m *merged) uid(id int) int {
	if to, ok := m.uids[id]; ok {
		return to
	}
	if slices.ContainsFunc(m.users, func(u user) bool { return u.uid == id }) {
		return 0
	}
	return id
}

// gid is uid for groups; there the nobody of all systems is the safe one,
// since the group root has rights.
func (m *merged) gid(id int) int {
	if to, ok := m.gids[id]; ok {
		return to
	}
	if slices.ContainsFunc(m.groups, func(g group) bool { return g.gid == id }) {
		return overflowID
	}
	return id
}

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
