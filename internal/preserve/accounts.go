package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// accounts is one system's account database: passwd(5), shadow(5), group(5)
// and gshadow(5), each in the order of its file.
type accounts struct {
	users   []user
	shadow  map[string]string // name → whole line
	groups  []group
	gshadow map[string]string // name → whole line
	uidMin  int               // the first id of a human
	gidMin  int
	bad     []string // lines that are none, as "/etc/passwd:3: …"
}

type user struct {
	name, password     string
	uid, gid           int
	gecos, home, shell string
}

func (u user) line() string {
	return fmt.Sprintf("%s:%s:%d:%d:%s:%s:%s\n", u.name, u.password, u.uid, u.gid, u.gecos, u.home, u.shell)
}

type group struct {
	name, password string
	gid            int
	members        []string
}

func (g group) line() string {
	return fmt.Sprintf("%s:%s:%d:%s\n", g.name, g.password, g.gid, strings.Join(g.members, ","))
}

// Ids with a meaning of their own: the overflow id, which EL8 gives to nobody
// and EL7 to nfsnobody, and its 32-bit twin, which chown takes for "none".
const (
	overflowID = 65534
	noID       = math.MaxUint32
)

// maxAccounts bounds the database; sssd and LDAP serve more than that.
const maxAccounts = 1 << 16

func readAccounts(t Tree) (*accounts, error) {
	a := &accounts{shadow: map[string]string{}, gshadow: map[string]string{}, uidMin: 1000, gidMin: 1000}
	a.readLimits(t)
	files := []struct {
		name   string
		fields int
		take   func(line string, f []string) error
	}{
		{"etc/passwd", 7, a.takeUser},
		{"etc/shadow", 9, func(line string, f []string) error { return takeLine(a.shadow, line, f) }},
		{"etc/group", 4, a.takeGroup},
		{"etc/gshadow", 4, func(line string, f []string) error { return takeLine(a.gshadow, line, f) }},
	}
	for _, file := range files {
		b, err := ReadFile(t, file.name, maxConfig)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, failed("reading the accounts", err)
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line = strings.TrimSuffix(line, "\n")
			if strings.TrimSpace(line) == "" || line[0] == '#' {
				continue
			}
			if n > maxAccounts {
				return nil, failed("reading the accounts", fmt.Errorf("/%s: more than %d lines", file.name, maxAccounts))
			}
			if err := takeFields(line, file.fields, file.take); err != nil {
				a.bad = append(a.bad, fmt.Sprintf("/%s:%d: %v", file.name, n, err))
			}
		}
	}
	return a, nil
}

func takeFields(line string, fields int, take func(string, []string) error) error {
	for i := range len(line) {
		if line[i] < ' ' || line[i] == 0x7f {
			return errors.New("a control character")
		}
	}
	f := strings.Split(line, ":")
	if len(f) != fields {
		return fmt.Errorf("%d fields instead of %d", len(f), fields)
	}
	if err := checkAccountName(f[0]); err != nil {
		return err
	}
	return take(line, f)
}

// checkAccountName takes what useradd takes on any distribution, and a little
// more (a dot, upper case, Windows names). It refuses "+" and "-", which call
// in NIS, and what could break another file's syntax.
func checkAccountName(name string) error {
	if name == "" || len(name) > 256 {
		return fmt.Errorf("%.40q is no account name", name)
	}
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case i > 0 && strings.ContainsRune(`.-@\$ `, c):
		case c >= 0x80:
		default:
			return fmt.Errorf("%.40q is no account name", name)
		}
	}
	if name == "." || name == ".." {
		return fmt.Errorf("%q is no account name", name)
	}
	return nil
}

func takeLine(lines map[string]string, line string, f []string) error {
	if _, ok := lines[f[0]]; ok {
		return fmt.Errorf("%q is there twice; the first counts", f[0])
	}
	lines[f[0]] = line
	return nil
}

func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == noID {
		return 0, fmt.Errorf("%.20q is no id", s)
	}
	return int(n), nil
}

func (a *accounts) takeUser(_ string, f []string) error {
	uid, err := parseID(f[2])
	if err != nil {
		return err
	}
	gid, err := parseID(f[3])
	if err != nil {
		return err
	}
	if a.user(f[0]) != nil {
		return fmt.Errorf("%q is there twice; the first counts", f[0])
	}
	a.users = append(a.users, user{f[0], f[1], uid, gid, f[4], f[5], f[6]})
	return nil
}

func (a *accounts) takeGroup(_ string, f []string) error {
	gid, err := parseID(f[2])
	if err != nil {
		return err
	}
	if a.group(f[0]) != nil {
		return fmt.Errorf("%q is there twice; the first counts", f[0])
	}
	g := group{name: f[0], password: f[1], gid: gid}
	for m := range strings.SplitSeq(f[3], ",") {
		if m = strings.TrimSpace(m); m != "" {
			g.members = append(g.members, m)
		}
	}
	a.groups = append(a.groups, g)
	return nil
}

// readLimits reads where the ids of humans begin. EL6 had 500, and its users
// kept their ids when it became EL7.
func (a *accounts) readLimits(t Tree) {
	b, err := ReadFile(t, "etc/login.defs", maxConfig)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil || n < 100 || n > 60000 {
			continue // also below the ids that every system has
		}
		switch f[0] {
		case "UID_MIN":
			a.uidMin = n
		case "GID_MIN":
			a.gidMin = n
		}
	}
}

func (a *accounts) user(name string) *user {
	for i := range a.users {
		if a.users[i].name == name {
			return &a.users[i]
		}
	}
	return nil
}

func (a *accounts) group(name string) *group {
	for i := range a.groups {
		if a.groups[i].name == name {
			return &a.groups[i]
		}
	}
	return nil
}

func (a *accounts) human(uid int) bool  { return uid >= a.uidMin && uid != overflowID }
func (a *accounts) people(gid int) bool { return gid >= a.gidMin && gid != overflowID }

// hash returns the password field that counts: shadow's, unless passwd itself
// holds one, as on very old systems.
func (a *accounts) hash(u *user) string {
	if u.password != "x" {
		return u.password
	}
	line, ok := a.shadow[u.name]
	if !ok {
		return "*"
	}
	return strings.Split(line, ":")[1]
}

// usableHash tells whether the password field holds a hash, be it locked by a
// "!" in front: something that a person set.
func usableHash(hash string) bool {
	return len(strings.TrimLeft(hash, "!*")) >= 13 // the shortest: DES crypt
}

// login tells whether somebody may log in to the account: it has a hash, or a
// shell and so perhaps a key.
func (a *accounts) login(u *user) bool {
	return usableHash(a.hash(u)) || loginShell(u.shell)
}

func loginShell(shell string) bool {
	switch path.Base(shell) {
	case "nologin", "false", "true", "sync", "halt", "shutdown":
		return false
	}
	return true
}
