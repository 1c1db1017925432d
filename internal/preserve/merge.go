package preserve

import (
	"fmt"
	"slices"
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
