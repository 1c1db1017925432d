package preserve

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

type noteFunc func(kind NoteKind, subject, format string, args ...any)

// readState reads the effective state of a system from its files. live are
// the names that its kernel gives; files may change them.
func readState(files netFiles, sys netSystem, live []Link, note noteFunc) (*netState, error) {
	if name := files.unreadable(); name != "" {
		return nil, refusal(absolute(name), "put a regular file there", "it is a link that leads out of the network configuration, or to nothing")
	}
	names, err := readNames(files, live)
	if err != nil {
		return nil, err
	}
	r := &netReader{files: files, sys: sys, names: names, note: note, tables: builtinTables}
	for _, name := range []string{"usr/lib/iproute2/rt_tables", "usr/share/iproute2/rt_tables", "etc/iproute2/rt_tables"} {
		if files.exists(name) {
			r.tables = parseTables(files.data(name))
		}
	}
	if sys.readsIfcfg() {
		if err := r.readIfcfg(); err != nil {
			return nil, err
		}
	}
	if sys.nm {
		if err := r.readKeyfiles(); err != nil {
			return nil, err
		}
	}
	s := &netState{profiles: r.profiles, opaque: opaqueFiles(files, sys)}
	if sys.nm {
		s.idleDHCP, s.unmanaged = sys.conf.idleDHCP(), sys.conf.unmanaged
	}
	if err := s.connect(names); err != nil {
		return nil, err
	}
	s.resolver = r.readResolver(s)
	return s, nil
}

// opaqueFiles are those of systems that this package does not read: they are
// carried to the same kind of system, byte for byte.
func opaqueFiles(files netFiles, sys netSystem) map[string]string {
	out := map[string]string{}
	for _, name := range opaqueNames(files, sys) {
		h := sha256.Sum256(files.data(name))
		out[name] = hex.EncodeToString(h[:8])
	}
	return out
}

func opaqueNames(files netFiles, sys netSystem) []string {
	var list []string
	if sys.networkd {
		for _, name := range files.glob("etc/systemd/network", "") {
			if strings.HasSuffix(name, ".network") || strings.HasSuffix(name, ".netdev") {
				list = append(list, name)
			}
		}
	}
	if sys.ifupdown {
		list = append(list, "etc/network/interfaces")
		list = append(list, files.glob("etc/network/interfaces.d", "")...)
	}
	return list
}

// connect resolves references between profiles and checks them.
func (s *netState) connect(names *linkNames) error {
	name := func(ref string) string {
		for _, p := range s.profiles {
			if p.UUID != "" && p.UUID == ref {
				return p.Name
			}
		}
		if mac, err := parseMAC(ref); err == nil {
			return cmp.Or(names.nameOf(mac), ref)
		}
		return ref
	}
	for _, p := range s.profiles {
		if p.Kind == linkVLAN {
			p.VLAN.Parent = name(p.VLAN.Parent)
		}
		if p.Controller == "" {
			continue
		}
		p.Controller = name(p.Controller)
		c := s.controller(p.Controller)
		if c == nil {
			return refusal(absolute(p.File), "write a file for "+p.Controller, "%s is a port of %s, which no file configures as a bond or bridge", p.label(), p.Controller)
		}
		s.enslave(p, c)
	}
	return s.unique()
}

func (s *netState) controller(name string) *netProfile {
	var found *netProfile
	for _, p := range s.profiles {
		if (p.Kind == linkBond || p.Kind == linkBridge) && p.Name == name && (found == nil || p.Auto) {
			found = p
		}
	}
	return found
}

// enslave makes a profile a port: it has no addresses of its own.
func (s *netState) enslave(p, c *netProfile) {
	p.V4, p.V6 = ipSpec{Method: methodOff}, ipSpec{Method: methodOff}
	switch {
	case c.Kind == linkBond:
		p.Port = nil
	case p.Port == nil:
		p.Port = map[string]string{}
	}
	if p.scripts && c.Kind == linkBond {
		p.Auto = c.Auto // ifup-eth brings a bond's ports up with it, whatever ONBOOT says
	}
}

// unique refuses two files that bring up the same interface: which of them
// wins is a matter of chance.
func (s *netState) unique() error {
	slices.SortStableFunc(s.profiles, func(a, b *netProfile) int {
		return cmp.Or(strings.Compare(a.key(), b.key()), strings.Compare(a.File, b.File))
	})
	seen := map[string]*netProfile{}
	for _, p := range s.profiles {
		if !p.Auto || p.key() == anyLink {
			continue
		}
		if other := seen[p.key()]; other != nil {
			return refusal(absolute(p.File), "set ONBOOT=no (autoconnect=false) in one of them, or remove it", "it and %s both bring up %s", absolute(other.File), p.label())
		}
		seen[p.key()] = p
	}
	return nil
}
