package preserve

import "fmt"

// network carries the network configuration over: the same addresses, routes,
// rules and name servers on the same cards.
//
// It reads the old system's files into its effective state, plans files for
// the new system, reads those back as the new system would, and compares the
// two states. Unless they are equal, the plan is refused. docs/preserve-network.md
// says what is known, and where the knowledge comes from.
type network struct{}

// Name is the handler's name.
func (network) Name() string { return "network" }

// networkPaths are the handler's own: no policy rule touches them.
var networkPaths = []string{
	"/etc/sysconfig/network", "/etc/sysconfig/network-scripts/**", "/etc/sysconfig/static-routes", "/etc/sysconfig/static-routes-ipv6",
	"/etc/NetworkManager/system-connections/**", "/" + nmOwnConf,
	"/etc/resolv.conf", "/etc/udev/rules.d/*persistent-net.rules", "/etc/systemd/network/**",
	"/etc/network/interfaces", "/etc/network/interfaces.d/**", "/etc/iproute2/rt_tables", "/etc/dhcp/dhclient*.conf", "/etc/dhclient.conf",
	"/var/lib/dhclient/**", "/var/lib/NetworkManager/**",
}

// Sources are the paths that a capture archive holds for Plan, with the
// markers that tell what brought the old system's network up.
func (network) Sources(old Tree) []string {
	list := []string{
		"/etc/NetworkManager/NetworkManager.conf", "/etc/NetworkManager/conf.d/*", "/etc/iproute2/rt_tables.d/*",
		"/usr/lib/NetworkManager/conf.d/*", "/usr/lib/NetworkManager/system-connections/*", "/usr/share/iproute2/rt_tables",
		"/usr/lib/iproute2/rt_tables", "/etc/modprobe.d/*", "/sbin/ifup-local", "/usr/sbin/ifup-local", "/sbin/ifup-pre-local", "/usr/sbin/ifup-pre-local",
		"/" + nmUnit, "/" + networkdUnit, "/etc/systemd/system/NetworkManager.service", "/etc/systemd/system/systemd-networkd.service",
		"/" + wantsDir + "NetworkManager.service", "/" + wantsDir + "systemd-networkd.service",
		"/usr/lib/systemd/system/" + "multi-user.target.wants/*", "/etc/os-release", "/usr/lib/os-release", "/etc/centos-release", "/etc/redhat-release",
	}
	list = append(list, networkPaths...)
	for _, marks := range [][]string{ifupdownMarks, dispatcherMarks} {
		for _, m := range marks {
			list = append(list, "/"+m)
		}
	}
	if plugin := findPlugin(old); plugin != "" {
		list = append(list, "/"+plugin)
	}
	return list
}

// Plan plans the network.
func (h network) Plan(old, new Tree, p *Planner) error {
	p.Claim(networkPaths...)
	t, err := h.prepare(old, new, p)
	if err != nil {
		return err
	}
	if len(t.state.profiles) == 0 && len(t.state.opaque) == 0 {
		p.Note(Kept, "network", "the old system has no network configuration")
		return nil
	}
	done, err := t.plan()
	if err != nil {
		return err
	}
	if err := done.commit(p); err != nil {
		return err
	}
	return done.verify(p.Result())
}

// prepare reads both sides.
func (network) prepare(old, new Tree, p *Planner) (*transfer, error) {
	t := &transfer{oldTree: old, newTree: new, live: p.host.Links}
	var err error
	if t.oldFiles, err = loadNetFiles(old); err != nil {
		return nil, err
	}
	if t.newFiles, err = loadNetFiles(new); err != nil {
		return nil, err
	}
	if t.before, err = detectNet(old, t.oldFiles); err != nil {
		return nil, err
	}
	if t.after, err = detectNet(new, t.newFiles); err != nil {
		return nil, err
	}
	if len(t.live) == 0 {
		p.Note(Warning, "network", "the machine's interfaces are not known: MAC addresses are taken from files only")
	}
	t.state, err = readState(t.oldFiles, t.before, t.live, p.Note)
	return t, err
}

// plan tries the old files as they are, then keyfiles, and returns the first
// transfer that leaves the effective state as it is.
func (t *transfer) plan() (*transfer, error) {
	differs := ""
	if t.canKeep() {
		try := t.attempt()
		try.asIs()
		d, err := try.check()
		if err != nil {
			return nil, err
		}
		if d == "" {
			return try, nil
		}
		differs = d
	}
	if t.canTranslate() {
		try := t.attempt()
		if err := try.translate(); err != nil {
			return nil, err
		}
		d, err := try.check()
		if err != nil {
			return nil, fmt.Errorf("reading back what was translated: %w", err)
		}
		if d == "" {
			return try, nil
		}
		differs = d
	}
	if differs != "" {
		return nil, refusal("network", "make the configuration one that both systems read alike, or carry the network over by hand",
			"the new system would come up %s", differs)
	}
	return nil, refusal("network", "update to an image that has NetworkManager",
		"the old system's network is brought up by %s, the new system's by %s: no way from one to the other", t.before, t.after)
}

// attempt is a transfer that has planned nothing yet. Its state is its own,
// for translation changes how it is written down.
func (t *transfer) attempt() *transfer {
	try := *t
	try.writes, try.removes = map[string]netFile{}, map[string]bool{}
	state := *t.state
	state.profiles = nil
	for _, p := range t.state.profiles {
		q := *p
		state.profiles = append(state.profiles, &q)
	}
	try.state = &state
	return &try
}

func makeNote(kind NoteKind, subject, format string, args ...any) Note {
	return Note{Kind: kind, Subject: subject, Detail: fmt.Sprintf(format, args...)}
}
