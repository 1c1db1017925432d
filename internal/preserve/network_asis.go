package preserve

import (
	"path"
	"slices"
	"strings"
)

// canKeep tells whether the new system reads the old system's files.
func (t *transfer) canKeep() bool {
	for _, p := range t.state.profiles {
		if path.Dir(p.File) == ifcfgDir {
			if !t.after.readsIfcfg() || t.after.wantsKeyfiles() || t.after.bare && !t.before.bare {
				return false
			}
		} else if !t.after.nm {
			return false
		}
	}
	return t.opaqueFits()
}

// opaqueFits tells whether files that are not read here have the same reader.
func (t *transfer) opaqueFits() bool {
	if len(t.state.opaque) == 0 {
		return true
	}
	return t.before.networkd == t.after.networkd && t.before.ifupdown == t.after.ifupdown
}

// asIs plans that the new system has the old one's files.
func (t *transfer) asIs() {
	t.clear()
	if t.after.readsIfcfg() {
		t.keepIfcfg()
	}
	for _, file := range keyfiles(t.oldFiles) {
		if f := t.oldFiles[file]; t.before.nm && t.after.nm && f.uid == 0 && f.mode&0o077 == 0 {
			t.keep(file)
		} else if t.before.nm && t.after.nm && path.Dir(file) == vendorKeyfileDir {
			t.write(path.Join(keyfileDir, path.Base(file)), f.content, 0o600)
		}
	}
	t.keep(opaqueNames(t.oldFiles, t.before)...)
	for _, name := range t.oldFiles.glob("etc/systemd/network", "") {
		if strings.HasSuffix(name, ".link") {
			t.keep(name)
		}
	}
	if t.sameNames() {
		t.keep(t.oldFiles.glob("etc/udev/rules.d", "")...)
	}
	t.keepIdentity()
	t.resolvConf(t.state.resolver.File || !t.after.nm)
	t.conf("")
	t.names()
}

func (t *transfer) keepIfcfg() {
	t.keep(ifcfgFiles(t.oldFiles)...)
	routes := false
	for _, prefix := range []string{"route-", "route6-", "rule-", "rule6-"} {
		for _, name := range t.oldFiles.glob(ifcfgDir, prefix) {
			if !backupFile(path.Base(name)) {
				t.keep(name)
				routes = true
			}
		}
	}
	for _, name := range t.oldFiles.glob(ifcfgDir, "") {
		if strings.HasSuffix(name, ".route") {
			t.keep(name)
		}
	}
	t.keep("etc/sysconfig/network", "etc/sysconfig/static-routes", "etc/sysconfig/static-routes-ipv6")
	if routes {
		t.keep("etc/iproute2/rt_tables") // route and rule files may name tables
	}
	t.keep(t.oldFiles.glob("etc/dhcp", "dhclient")...)
	t.keep("etc/dhclient.conf")
}

// keepIdentity carries what a DHCP server, or a router's prefix, gives this
// machine its addresses by.
func (t *transfer) keepIdentity() {
	for _, dir := range []string{"var/lib/dhclient", "var/lib/NetworkManager"} {
		for _, name := range t.oldFiles.glob(dir, "") {
			if f := t.oldFiles[name]; f.readable && !f.symlink {
				t.write(name, f.content, 0o600)
			}
		}
	}
	if slices.ContainsFunc(t.state.profiles, func(p *netProfile) bool { return p.active() && p.V4.Method == methodAuto }) {
		t.note(Carried, "DHCP", "leases and identifiers")
	}
}
