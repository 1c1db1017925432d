package preserve

import (
	"io"
	"path"
	"slices"
	"strings"
)

// cron carries what runs at set times: the system's tables and the users'.
type cron struct{}

func (cron) Name() string { return "cron" }

var cronFiles = []string{
	"etc/crontab", "etc/anacrontab", "etc/cron.allow", "etc/cron.deny", "etc/at.allow", "etc/at.deny",
	"etc/cron.d/*", "etc/cron.hourly/*", "etc/cron.daily/*", "etc/cron.weekly/*", "etc/cron.monthly/*",
}

// cronPackaged are the jobs that EL's packages bring. On a system whose image
// lists no defaults nothing else tells them from the customer's, and EL9
// does most of them by timers.
var cronPackaged = []string{
	"0hourly", "0anacron", "raid-check", "sysstat", "logrotate", "man-db.cron", "mlocate", "rhsmd", "certwatch", "tmpwatch",
	"0yum-daily.cron", "0yum-hourly.cron", "unbound-anchor", "mcelog.cron", "cups", "makewhatis.cron", "prelink", "readahead.cron", "anacrontab",
}

func (cron) Sources(Tree) []string {
	return append(slices.Clone(cronFiles), "var/spool/cron/*", "var/spool/at/*")
}

func (c cron) Plan(old, new Tree, p *Planner) error {
	p.Claim(cronFiles...)
	p.Claim("var/spool/cron/*", "var/spool/at/**")
	found, err := p.Find(cronFiles...)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Kind == KindDir || e.Name() == ".placeholder" {
			continue
		}
		if slices.Contains(cronPackaged, e.Name()) && !p.oldDefaults.covers(e.Path) {
			p.Note(Kept, absolute(e.Path), "comes with a package; the new system has its own, or a timer")
			continue
		}
		carried, err := p.carryFile(e)
		if err != nil {
			return err
		}
		if carried {
			c.programs(p, e)
		}
	}
	if jobs, err := Find(old, "var/spool/at/a*"); err == nil && len(jobs) > 0 {
		p.Note(Dropped, "/var/spool/at", "%d jobs of at(1): they belong to the moment, not to the configuration", len(jobs))
	}
	return c.userTables(p)
}

// programs warns when a line of a system table starts a program that the new
// system does not have: most come with a package.
func (cron) programs(p *Planner, e Entry) {
	if path.Dir(e.Path) != "etc/cron.d" {
		return
	}
	text, there, err := p.oldText(e.Path)
	if err != nil || !there {
		return
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		n := 6
		if len(f) > 0 && strings.HasPrefix(f[0], "@") {
			n = 2
		}
		if len(f) <= n || f[0][0] == '#' || !strings.HasPrefix(f[n], "/") {
			continue
		}
		name, err := Clean(f[n])
		if err != nil {
			continue
		}
		if real, err := Resolve(p.Result(), name); err != nil || !Exists(p.Result(), real) {
			p.Note(Warning, absolute(e.Path), "starts %.80q, which is not in the new system", f[n])
			return
		}
	}
}

// userTables carries the tables of accounts that the new system has. crond
// takes a table only if it is a regular file of that account, or root's.
func (cron) userTables(p *Planner) error {
	m, err := p.accounts()
	if err != nil {
		return err
	}
	found, err := p.Find("var/spool/cron/*")
	if err != nil {
		return err
	}
	for _, e := range found {
		i := slices.IndexFunc(m.users, func(u user) bool { return u.name == e.Name() })
		why := ""
		switch {
		case e.Kind == KindDir:
			continue
		case e.Kind != KindFile:
			why = "a " + e.Kind.String()
		case i < 0 || m.old.user(e.Name()) == nil:
			why = "its account is not carried"
		case e.UID != m.old.user(e.Name()).uid && e.UID != 0:
			why = "not the account's own"
		case e.Links > 1:
			why = "has a second name (hard link)"
		case e.Size > maxKeyFile:
			why = "too long"
		}
		if why != "" {
			p.Note(Warning, absolute(e.Path), "not carried: %s", why)
			continue
		}
		f, err := openEntry(p.old, e)
		if err != nil {
			return failed("reading a table of cron", err)
		}
		b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
		f.Close()
		if err != nil {
			return failed("reading a table of cron", err)
		}
		if err := p.Write(e.Path, b, 0o600, m.users[i].uid, m.users[i].gid); err != nil {
			return err
		}
		p.Note(Carried, absolute(e.Path), "")
	}
	return nil
}
