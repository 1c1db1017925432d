package preserve

import (
	"slices"
)

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
