package preserve

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// canTranslate tells whether the new system reads keyfiles.
func (t *transfer) canTranslate() bool { return t.after.nm && len(t.state.opaque) == 0 }

// translate plans NetworkManager's keyfiles that do what the ifcfg files did.
// Keyfiles are carried as they are.
func (t *transfer) translate() error {
	if err := t.translatable(); err != nil {
		return err
	}
	if err := t.state.identity(t.oldFiles, t.note); err != nil {
		return err
	}
	dns := ""
	if t.state.resolver.File {
		dns = "none"
	} else if !t.state.placeResolver() {
		if t.dynamicDNS() {
			return refusal("/etc/sysconfig/network-scripts", "order the name servers by family", "NetworkManager cannot be told to use %s in this order", joinAddrs(t.state.resolver.Servers, " "))
		}
		dns = "none"
	}
	t.clear()
	uuids := profileUUIDs(t.state.profiles)
	for _, p := range t.state.profiles {
		if path.Dir(p.File) != ifcfgDir {
			t.write(path.Join(keyfileDir, path.Base(p.File)), t.oldFiles.data(p.File), 0o600)
			t.note(Carried, absolute(p.File), "as it is")
			continue
		}
		file := t.keyfileName(p)
		t.write(file, writeKeyfile(p, uuids), 0o600)
		t.note(Translated, absolute(p.File), "as %s", absolute(file))
		if p.MAC == "" && p.Kind == linkEthernet {
			t.note(Warning, p.Name, "its MAC address is not known: its settings are bound to its name")
		}
	}
	t.stableSecret()
	t.forwarding()
	t.resolvConf(dns == "none")
	t.conf(dns)
	t.names()
	return nil
}

// translatable refuses what would be lost on the way.
func (t *transfer) translatable() error {
	scripts := false
	for _, p := range t.state.profiles {
		if path.Dir(p.File) != ifcfgDir {
			continue
		}
		if err := p.checkKeys(t.note); err != nil {
			return err
		}
		scripts = scripts || p.scripts
	}
	if scripts && t.before.nm && t.before.conf.unmanaged != "" {
		return refusal(absolute(nmMainConf), "remove unmanaged-devices, or carry the network over by hand", "unmanaged-devices=%q, and interfaces of network-scripts, cannot both be told to NetworkManager", t.before.conf.unmanaged)
	}
	for _, name := range []string{"etc/sysconfig/static-routes", "etc/sysconfig/static-routes-ipv6"} {
		for line := range strings.Lines(string(t.oldFiles.data(name))) {
			if scripts && configLine(line) != nil {
				return refusal(absolute(name), "move its routes to route- files", "it has routes; the file is not supported")
			}
		}
	}
	for _, name := range []string{"sbin/ifup-local", "usr/sbin/ifup-local", "sbin/ifup-pre-local", "usr/sbin/ifup-pre-local"} {
		if scripts && t.oldFiles.exists(name) {
			t.note(Warning, absolute(name), "runs whenever an interface comes up; the new system has no such thing")
		}
	}
	if t.before.conf.defaults {
		t.note(Warning, absolute(nmMainConf), "its [connection] sections are not carried over")
	}
	return nil
}

// dynamicDNS tells whether some name servers come from DHCP: then resolv.conf
// cannot be a fixed file.
func (t *transfer) dynamicDNS() bool {
	return slices.ContainsFunc(t.state.profiles, func(p *netProfile) bool {
		return p.active() && (p.V4.dynamic() && !p.V4.IgnoreDNS)
	})
}

// keyfileName is a name that no other profile has.
func (t *transfer) keyfileName(p *netProfile) string {
	base := strings.ReplaceAll(p.label(), ":", "-")
	for i := 1; ; i++ {
		name := path.Join(keyfileDir, base+".nmconnection")
		if i > 1 {
			name = path.Join(keyfileDir, fmt.Sprintf("%s-%d.nmconnection", base, i))
		}
		if _, taken := t.writes[name]; !taken {
			return name
		}
	}
}

// stableSecret carries the key that stable-privacy addresses are made from.
func (t *transfer) stableSecret() {
	for _, p := range t.state.profiles {
		if p.V6.AddrGen == "eui64" || p.V6.AddrGen == "" || !p.V6.dynamic() {
			continue
		}
		const name = "var/lib/NetworkManager/secret_key"
		if f := t.oldFiles[name]; f.readable && !f.symlink {
			t.write(name, f.content, 0o600)
		}
		if !uuidForm.MatchString(strings.ToLower(p.UUID)) {
			t.note(Warning, absolute(p.File), "IPV6_ADDR_GEN_MODE=stable-privacy without UUID: addresses made from router advertisements change")
		}
	}
}

// forwarding keeps IPV6FORWARDING=yes of /etc/sysconfig/network, which
// network-scripts make a sysctl of.
func (t *transfer) forwarding() {
	const name = "etc/sysctl.d/70-abupdate-network.conf"
	vars, err := parseShell(t.oldFiles.data("etc/sysconfig/network"))
	if err != nil || varsOf(vars)["IPV6FORWARDING"] != "yes" || !t.before.scripts {
		return
	}
	t.write(name, []byte("# Written by abupdate: IPV6FORWARDING=yes of /etc/sysconfig/network.\nnet.ipv6.conf.all.forwarding = 1\n"), 0o644)
	t.note(Translated, "/etc/sysconfig/network", "IPV6FORWARDING=yes as %s", absolute(name))
}
