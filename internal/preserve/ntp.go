package preserve

import (
	"slices"
	"strings"
)

// ntp carries the time servers to whatever keeps the time in the new system:
// chrony since EL8, which has no ntpd.
func (c clock) ntp(p *Planner) error {
	if p.Dropped("etc/chrony.conf") {
		return nil
	}
	useNTPD, err := c.usesNTPD(p)
	if err != nil {
		return err
	}
	newChrony, hasChrony, err := treeText(p.new, "etc/chrony.conf")
	if err != nil {
		return err
	}
	switch {
	case useNTPD && unitInstalled(p.new, "ntpd.service"):
		if err := p.carryChanged("etc/ntp.conf", "etc/ntp/**"); err != nil {
			return err
		}
		_, err := p.carryUnitState("ntpd.service")
		return err
	case !hasChrony:
		if useNTPD || Exists(p.old, "etc/chrony.conf") {
			p.Note(Warning, "time servers", "not carried: the new system has neither chrony nor ntpd")
		}
		return nil
	case useNTPD:
		return c.ntpToChrony(p, newChrony)
	}
	return c.chrony(p, newChrony)
}

// usesNTPD tells whether the old system keeps its time with ntpd.
func (clock) usesNTPD(p *Planner) (bool, error) {
	if !Exists(p.old, "etc/ntp.conf") {
		return false, nil
	}
	on, err := unitEnabled(p.old, "ntpd.service")
	return on || !Exists(p.old, "etc/chrony.conf"), err
}

// chronyKept are the directives that say with whom time is exchanged. All
// others are about chronyd itself, and the new system's.
var chronyKept = []string{
	"server", "pool", "peer", "allow", "deny", "local", "bindaddress", "bindacqaddress", "bindacqdevice", "binddevice",
	"refclock", "initstepslew", "manual", "ratelimit", "port", "acquisitionport", "minsources", "maxdistance", "smoothtime", "leapsecmode",
}

func (c clock) chrony(p *Planner, new string) error {
	old, there, err := p.oldText("etc/chrony.conf")
	if err != nil || !there {
		return err
	}
	if p.asShipped("etc/chrony.conf") || old == new {
		p.Note(Kept, "/etc/chrony.conf", "never changed on this device")
		return nil
	}
	var lines []string
	for _, l := range directives(old) {
		if slices.Contains(chronyKept, strings.ToLower(l[0])) {
			lines = append(lines, strings.Join(l, " "))
		}
	}
	if c.distribution(lines) {
		p.Note(Kept, "/etc/chrony.conf", "only the distribution's own time servers")
		return nil
	}
	if err := c.writeChrony(p, new, lines); err != nil {
		return err
	}
	if Exists(p.old, "etc/chrony.keys") && !p.asShipped("etc/chrony.keys") {
		if err := p.CopyTo("etc/chrony.keys", "etc/chrony.keys"); err != nil {
			return err
		}
	}
	return nil
}

// distribution tells whether servers are nothing but what a distribution
// ships: no customer has chosen them.
func (clock) distribution(lines []string) bool {
	for _, l := range lines {
		f := strings.Fields(l)
		switch strings.ToLower(f[0]) {
		case "server", "pool", "peer":
			if len(f) < 2 || !distributionPool(f[1]) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func distributionPool(host string) bool {
	for _, name := range []string{"centos", "rhel", "rocky", "almalinux", "oracle", "fedora", "debian"} {
		if strings.HasSuffix(host, "."+name+".pool.ntp.org") {
			return true
		}
	}
	return false
}

// writeChrony plans the new system's chrony.conf with these lines in place of
// its own of the same kinds.
func (clock) writeChrony(p *Planner, new string, lines []string) error {
	var out strings.Builder
	out.WriteString("# Time servers carried over by abupdate from the system before.\n")
	for _, l := range lines {
		out.WriteString(l + "\n")
		p.Note(Carried, "time servers", "%s", l)
	}
	out.WriteString("\n")
	for line := range strings.Lines(new) {
		f := strings.Fields(line)
		if len(f) > 0 && (slices.Contains(chronyKept, strings.ToLower(f[0])) || strings.EqualFold(f[0], "sourcedir")) {
			line = "# abupdate: not on this device: " + line
		}
		out.WriteString(line)
	}
	return p.rewrite("etc/chrony.conf", out.String(), 0o644)
}

// directives splits a file of chrony's or ntpd's into words; comments begin
// with # (chrony: also !, ;, %).
func directives(text string) [][]string {
	var list [][]string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.ContainsAny(f[0][:1], "#!;%") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) {
			continue
		}
		if i := slices.IndexFunc(f, func(w string) bool { return strings.HasPrefix(w, "#") }); i > 0 {
			f = f[:i]
		}
		list = append(list, f)
	}
	return list
}

// ntpToChrony translates ntp.conf: servers with the options that chrony has,
// the local clock, and who may ask.
func (c clock) ntpToChrony(p *Planner, new string) error {
	old, _, err := p.oldText("etc/ntp.conf")
	if err != nil {
		return err
	}
	if p.asShipped("etc/ntp.conf") {
		p.Note(Kept, "/etc/ntp.conf", "never changed on this device")
		return nil
	}
	var lines []string
	local := false
	for _, f := range directives(old) {
		switch f[0] {
		case "server", "pool", "peer":
			if len(f) > 1 && strings.HasPrefix(f[1], "127.127.1.") {
				local = true
				continue
			}
			if len(f) < 2 || strings.HasPrefix(f[1], "127.127.") {
				p.Note(Warning, "time servers", "not carried: %.80q, a reference clock", strings.Join(f, " "))
				continue
			}
			lines = append(lines, strings.Join(ntpServer(p, f), " "))
		case "fudge":
		case "restrict", "disable", "enable", "driftfile", "includefile", "keys", "crypto", "trustedkey", "statistics", "broadcastclient", "multicastclient", "logfile":
			if f[0] == "keys" || f[0] == "trustedkey" || f[0] == "crypto" || f[0] == "broadcastclient" || f[0] == "multicastclient" {
				p.Note(Dropped, "time servers", "%.80q: chrony has no such thing, or another", strings.Join(f, " "))
			}
		}
	}
	if c.distribution(lines) && !local {
		p.Note(Kept, "/etc/chrony.conf", "only the distribution's own time servers")
		return nil
	}
	if local {
		lines = append(lines, "local stratum 10")
	}
	p.Note(Translated, "/etc/ntp.conf", "becomes /etc/chrony.conf; who may ask this host (restrict) is not carried")
	return c.writeChrony(p, new, lines)
}

// ntpServer leaves the options that chrony has too.
func ntpServer(p *Planner, f []string) []string {
	out := []string{f[0], f[1]}
	for i := 2; i < len(f); i++ {
		switch f[i] {
		case "iburst", "burst", "prefer":
			out = append(out, f[i])
		case "minpoll", "maxpoll":
			if i+1 < len(f) && strings.Trim(f[i+1], "0123456789") == "" {
				out = append(out, f[i], f[i+1])
				i++
			}
		case "key":
			i++
			p.Note(Warning, "time servers", "%s is asked without its key: chrony keeps keys in another form", f[1])
		}
	}
	if !slices.Contains(out, "iburst") {
		out = append(out, "iburst")
	}
	return out
}
