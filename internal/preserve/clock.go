package preserve

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"path"
	"strings"
)

// clock is the handler "time": time zone, hardware clock, NTP servers.
type clock struct{}

func (clock) Name() string { return "time" }

func (clock) Sources(old Tree) []string {
	list := []string{
		"etc/localtime", "etc/timezone", "etc/adjtime", "etc/sysconfig/clock",
		"etc/chrony.conf", "etc/chrony.keys", "etc/chrony.d/**", "etc/ntp.conf", "etc/ntp/**",
		unitLinks + "/*.wants/ntpd.service", unitLinks + "/*.wants/chronyd.service",
		"usr/lib/systemd/system/ntpd.service", "usr/lib/systemd/system/chronyd.service",
	}
	if zone, file := oldZone(old); zone != "" {
		list = append(list, literal(path.Join(zoneDir, zone)))
	} else if file != "" {
		list = append(list, literal(file))
	}
	return list
}

func (c clock) Plan(_, _ Tree, p *Planner) error {
	p.Claim("etc/localtime", "etc/timezone", "etc/adjtime", "etc/chrony.conf", "etc/chrony.keys", "etc/ntp.conf", "etc/sysconfig/clock")
	if err := c.zone(p); err != nil {
		return err
	}
	if err := c.adjtime(p); err != nil {
		return err
	}
	return c.ntp(p)
}

const zoneDir = "usr/share/zoneinfo"

// maxZone bounds a time zone file; the longest has 3.5 kB.
const maxZone = 1 << 20

// oldZone finds the name of the old system's time zone; else the file that
// holds it.
func oldZone(t Tree) (zone, file string) {
	e, err := t.Lstat("etc/localtime")
	if err != nil {
		return "", ""
	}
	if e.Kind == KindSymlink {
		target, err := t.Readlink("etc/localtime")
		if err != nil {
			return "", ""
		}
		if _, name, ok := strings.Cut(target, "/zoneinfo/"); ok && validZone(name) {
			return name, ""
		}
		if real, err := Resolve(t, "etc/localtime"); err == nil {
			return "", real
		}
		return "", ""
	}
	// A copy, as on EL6 and after an upgrade from there. Somebody may have
	// written down of what.
	for _, at := range []struct{ file, key string }{{"etc/sysconfig/clock", "ZONE"}, {"etc/timezone", ""}} {
		text, there, err := treeText(t, at.file)
		if err != nil || !there {
			continue
		}
		name := strings.TrimSpace(text)
		if at.key != "" {
			name, _ = shellValue(text, at.key)
		}
		if validZone(name) && sameZone(t, "etc/localtime", path.Join(zoneDir, name)) {
			return name, ""
		}
	}
	return "", "etc/localtime"
}

func validZone(name string) bool {
	clean, err := Clean(name)
	return err == nil && clean == name && len(name) < 128 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+-") == ""
}

func sameZone(t Tree, a, b string) bool {
	x, err := ReadFile(t, a, maxZone)
	if err != nil {
		return false
	}
	b, err = Resolve(t, b)
	if err != nil {
		return false
	}
	y, err := ReadFile(t, b, maxZone)
	return err == nil && sha256.Sum256(x) == sha256.Sum256(y)
}

func (clock) zone(p *Planner) error {
	if p.Dropped("etc/localtime") {
		return nil
	}
	zone, file := oldZone(p.old)
	switch {
	case zone == "" && file == "":
		p.Note(Kept, "/etc/localtime", "the old system has no time zone")
		return nil
	case p.asShipped("etc/localtime"):
		p.Note(Kept, "/etc/localtime", "never changed on this device")
		return nil
	}
	if zone == "" {
		zone = p.zoneByContent(file)
	}
	if zone != "" {
		if real, err := Resolve(p.new, path.Join(zoneDir, zone)); err == nil {
			if e, err := p.new.Lstat(real); err == nil && e.Kind == KindFile {
				p.Note(Carried, "/etc/localtime", "%s", zone)
				return p.Symlink("etc/localtime", "../usr/share/zoneinfo/"+zone)
			}
		}
		if real, err := Resolve(p.old, path.Join(zoneDir, zone)); err == nil {
			file = real
		}
	}
	b, err := ReadFile(p.old, file, maxZone)
	if file == "" || errors.Is(err, fs.ErrNotExist) {
		p.Note(Warning, "/etc/localtime", "the time zone %q is in neither system; the new system's default stays", zone)
		return nil
	}
	if err != nil {
		return failed("reading the time zone", err)
	}
	if !strings.HasPrefix(string(b), "TZif") {
		p.Note(Warning, "/etc/localtime", "holds no time zone; the new system's default stays")
		return nil
	}
	p.Note(Translated, "/etc/localtime", "a copy of the old system's rules: the new one does not have this zone")
	return p.Write("etc/localtime", b, 0o644, 0, 0)
}

// zoneByContent looks for the new system's zone of the same content as a file
// of the old one.
func (p *Planner) zoneByContent(file string) string {
	b, err := ReadFile(p.old, file, maxZone)
	if err != nil {
		return ""
	}
	found := ""
	err = walk(p.new, zoneDir, func(e Entry) error {
		name := strings.TrimPrefix(e.Path, zoneDir+"/")
		if found != "" || e.Kind != KindFile || e.Size != int64(len(b)) || !validZone(name) ||
			strings.HasPrefix(name, "posix/") || strings.HasPrefix(name, "right/") || name == "localtime" || name == "posixrules" {
			return nil
		}
		if n, err := ReadFile(p.new, e.Path, maxZone); err == nil && string(n) == string(b) {
			found = name
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return found
}

// adjtime carries whether the hardware clock runs in local time.
func (clock) adjtime(p *Planner) error {
	text, there, err := p.oldText("etc/adjtime")
	if err != nil || !there || p.Dropped("etc/adjtime") {
		return err
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) != 3 || lines[2] != "UTC" && lines[2] != "LOCAL" {
		p.Note(Warning, "/etc/adjtime", "not in the form of hwclock(8); not carried")
		return nil
	}
	p.Note(Carried, "/etc/adjtime", "hardware clock in %s", lines[2])
	return p.Write("etc/adjtime", []byte("0.0 0 0.0\n0\n"+lines[2]+"\n"), 0o644, 0, 0)
}
