package preserve

import (
	"slices"
	"strings"
)

// sysctl carries kernel settings.
type sysctl struct{}

func (sysctl) Name() string { return "sysctl" }

var sysctlFiles = []string{"etc/sysctl.conf", "etc/sysctl.d/*.conf"}

func (sysctl) Sources(Tree) []string { return sysctlFiles }

func (s sysctl) Plan(_, _ Tree, p *Planner) error {
	p.Claim(sysctlFiles...)
	found, err := p.Find(sysctlFiles...)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Kind == KindDir {
			continue
		}
		carried, err := p.carryFile(e)
		if err != nil {
			return err
		}
		if carried && e.Kind == KindFile {
			if err := s.check(p, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// sysctlGone are settings that newer kernels do not have. systemd-sysctl
// says so and goes on.
var sysctlGone = []string{
	"net.ipv4.tcp_tw_recycle", "net.ipv4.tcp_fack", "net.ipv4.tcp_low_latency", "net.ipv4.tcp_max_ssthresh",
	"kernel.sched_min_granularity_ns", "kernel.sched_wakeup_granularity_ns", "kernel.sched_migration_cost_ns", "kernel.unprivileged_userns_clone",
}

// check looks at the lines of a carried file. One must not be carried:
// kernel.panic = 0 would leave a system dead that should fall back.
func (sysctl) check(p *Planner, e Entry) error {
	b, err := ReadFile(p.old, e.Path, maxConfig)
	if err != nil {
		return failed("reading kernel settings", err)
	}
	var out strings.Builder
	changed := false
	for line := range strings.Lines(string(b)) {
		key, v, ok := sysctlLine(line)
		switch {
		case ok && key == "kernel.panic" && strings.TrimLeft(v, "0") == "":
			line, changed = "# abupdate: a panic must reboot: "+line, true
			p.Note(Dropped, absolute(e.Path), "kernel.panic = 0: after a panic the system must boot again, or fall back")
		case ok && slices.Contains(sysctlGone, key):
			p.Note(Warning, absolute(e.Path), "%s: newer kernels do not have it", key)
		}
		out.WriteString(line)
	}
	if !changed {
		return nil
	}
	return p.Write(e.Path, []byte(out.String()), e.Mode, p.MapUID(e.UID), p.MapGID(e.GID))
}

// sysctlLine reads "key = value"; / and . both separate a key's parts.
func sysctlLine(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return "", "", false
	}
	key, value, ok = strings.Cut(strings.TrimPrefix(line, "-"), "=")
	return strings.ReplaceAll(strings.TrimSpace(key), "/", "."), strings.TrimSpace(value), ok
}
