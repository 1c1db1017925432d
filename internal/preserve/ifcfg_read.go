package preserve

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ifcfgDir holds the files of network-scripts and of NetworkManager's
// ifcfg-rh plugin.
const ifcfgDir = "etc/sysconfig/network-scripts"

// netReader reads one side's files into its effective state. What it says to
// note is for the user; the new side's reader has nobody listening.
type netReader struct {
	files  netFiles
	sys    netSystem
	names  *linkNames
	tables routeTables
	note   func(kind NoteKind, subject, format string, args ...any)

	global   shellVars         // /etc/sysconfig/network
	parsed   map[string]*ifcfg // by file name without "ifcfg-"
	masters  map[string]bool   // bonds, as their ports name them
	byUUID   map[string]*ifcfg // NetworkManager's references
	pending  []pendingRoute    // routes that may belong to another interface
	profiles []*netProfile
}

// ifcfg is one ifcfg file being read.
type ifcfg struct {
	r       *netReader
	file    string // path
	suffix  string // file name without "ifcfg-"
	vars    []shellVar
	v       shellVars
	scripts bool // network-scripts bring it up, not NetworkManager
	p       *netProfile
}

// refusal is a configuration that this package does not carry.
func refusal(subject, next, format string, args ...any) error {
	return &Refusal{Handler: "network", Subject: subject, Reason: fmt.Sprintf(format, args...), Next: next}
}

func (c *ifcfg) refuse(format string, args ...any) error {
	return refusal(absolute(c.file), "change the file, or carry the network over by hand", format, args...)
}

// get is the value that the reader of the file sees. network-scripts source
// /etc/sysconfig/network first, so that it sets defaults for every interface.
func (c *ifcfg) get(key string) string {
	if v, ok := c.v[key]; ok || !c.scripts {
		return v
	}
	return c.r.global[key]
}

func (c *ifcfg) yes(key string, fallback bool) bool {
	v := c.get(key)
	if !c.scripts {
		return nmBool(v, fallback)
	}
	switch {
	case isTrue(v):
		return true
	case isFalse(v):
		return false
	}
	return fallback
}

// number reads a decimal number within bounds; missing is fallback.
func (c *ifcfg) number(key string, low, high, fallback int64) (int64, error) {
	v := c.get(key)
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		return 0, c.refuse("%s=%q is no number from %d to %d", key, v, low, high)
	}
	return n, nil
}

// readIfcfg reads all ifcfg files into profiles.
func (r *netReader) readIfcfg() error {
	r.parsed, r.masters, r.byUUID = map[string]*ifcfg{}, map[string]bool{}, map[string]*ifcfg{}
	if err := r.readGlobal(); err != nil {
		return err
	}
	if err := r.parseIfcfgFiles(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.parsed)) {
		c := r.parsed[name]
		if strings.Contains(name, ":") || rangeFile.MatchString(name) {
			continue
		}
		p, err := c.profile()
		if err != nil {
			return err
		}
		if p != nil {
			r.profiles = append(r.profiles, p)
		}
	}
	if err := r.placeRoutes(); err != nil {
		return err
	}
	r.settleScripts()
	return nil
}

// readGlobal reads /etc/sysconfig/network.
func (r *netReader) readGlobal() error {
	const name = "etc/sysconfig/network"
	vars, err := parseShell(r.files.data(name))
	if err != nil {
		return refusal("/"+name, "", "%v", err)
	}
	r.global = varsOf(vars)
	for k := range r.global {
		if runsThings(k) {
			return refusal("/"+name, "", "%s changes how programs run", k)
		}
	}
	if isFalse(r.global["NETWORKING"]) && (r.sys.scripts || r.sys.bare) && !r.sys.nm {
		return refusal("/"+name, "say NETWORKING=yes, or disable this handler", "NETWORKING=no: the network is off")
	}
	return nil
}

func (r *netReader) parseIfcfgFiles() error {
	for _, file := range r.files.glob(ifcfgDir, "ifcfg-") {
		suffix := strings.TrimPrefix(path.Base(file), "ifcfg-")
		if suffix == "lo" || suffix == "" || backupFile(suffix) {
			continue
		}
		vars, err := parseShell(r.files.data(file))
		c := &ifcfg{r: r, file: file, suffix: suffix, vars: vars, v: varsOf(vars)}
		if err != nil {
			return c.refuse("%v", err)
		}
		for k := range c.v {
			if runsThings(k) {
				return c.refuse("%s changes how programs run", k)
			}
		}
		c.scripts = !r.sys.nm || !r.sys.ifcfgRH || !nmBool(c.v["NM_CONTROLLED"], true)
		r.parsed[suffix] = c
		if u := c.v["UUID"]; u != "" {
			r.byUUID[u] = c
		}
		if m := c.v["MASTER"]; m != "" && (isTrue(c.v["SLAVE"]) || !c.scripts) {
			r.masters[m] = true
		}
	}
	return nil
}

// runsThings are variables that have effects of their own in a shell.
func runsThings(key string) bool {
	switch key {
	case "PATH", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "CDPATH", "GLOBIGNORE", "POSIXLY_CORRECT":
		return true
	}
	return strings.HasPrefix(key, "LD_") || strings.HasPrefix(key, "BASH_")
}

// backupFile tells whether both readers pass a file by (network-scripts:
// __sed_discard_ignored_files in init.d/functions; NetworkManager:
// utils_should_ignore_file). "x.old" is not among them for NetworkManager,
// but nobody means it.
func backupFile(name string) bool {
	if strings.HasPrefix(name, ".") || strings.Contains(name, ";") {
		return true
	}
	for _, tail := range []string{"~", ".bak", ".old", ".orig", ".rej", ".rpmnew", ".rpmorig", ".rpmsave", ".augnew", ".augtmp", ".swp"} {
		if strings.HasSuffix(name, tail) {
			return true
		}
	}
	return false
}

// profile reads one file. It returns nil for a file without effect.
func (c *ifcfg) profile() (*netProfile, error) {
	if c.get("DEVICE") == "lo" {
		return nil, nil
	}
	if c.scripts && !c.r.sys.scripts && !c.r.sys.bare {
		c.r.note(Warning, absolute(c.file), "NM_CONTROLLED=no, but no network service is installed: the interface stays down, the file is left out")
		return nil, nil
	}
	p := &netProfile{
		File: c.file, ID: cmp.Or(c.v["NAME"], "System "+c.suffix), vars: c.vars, scripts: c.scripts,
		Auto: c.yes("ONBOOT", true), Zone: c.get("ZONE"), UUID: c.v["UUID"],
	}
	c.p = p
	p.V4.Metric, p.V6.Metric = -1, -1
	p.V4.Method, p.V6.Method = methodOff, methodOff
	if p.Zone != "" && !plainWord(p.Zone) {
		return nil, c.refuse("ZONE=%q is no zone name", p.Zone)
	}
	for _, step := range []func() error{c.readKind, c.readName, c.readLink, c.readPort, c.readIP} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readName reads the name and the permanent address.
func (c *ifcfg) readName() error {
	p := c.p
	p.Name = c.get("DEVICE")
	if p.Name != "" && !validIfname(p.Name) {
		return c.refuse("DEVICE=%q is no interface name", p.Name)
	}
	hw := c.get("HWADDR")
	if c.get("HWADDR_BLACKLIST") != "" {
		return c.refuse("HWADDR_BLACKLIST is not supported")
	}
	if p.Kind != linkEthernet {
		if p.Name == "" {
			return c.refuse("a %s needs DEVICE", p.Kind)
		}
		return nil
	}
	if hw != "" {
		mac, err := parseMAC(hw)
		if err != nil {
			return c.refuse("HWADDR: %v", err)
		}
		p.MAC = mac
	}
	if p.Name == "" && p.MAC == "" {
		return c.refuse("it names neither DEVICE nor HWADDR: which interface is meant?")
	}
	live := c.r.names.macOf(p.Name)
	switch {
	case p.MAC == "":
		p.MAC = live
	case p.Name == "":
		p.Name = c.r.names.nameOf(p.MAC)
	case live != "" && live != p.MAC:
		p.Absent = true
		c.r.note(Warning, absolute(c.file), "%s has the address %s, not HWADDR=%s: the file does not apply to it", p.Name, live, p.MAC)
	}
	return nil
}

// readLink reads MTU, MAC and device settings.
func (c *ifcfg) readLink() error {
	p := c.p
	mtu, err := c.number("MTU", 0, 1<<20, 0)
	if err != nil {
		return err
	}
	p.MTU = int(mtu)
	if m := c.get("MACADDR"); m != "" {
		if p.CloneMAC, err = parseMAC(m); err != nil {
			return c.refuse("MACADDR: %v", err)
		}
	}
	if m := c.get("BRIDGE_MACADDR"); m != "" && !c.scripts && p.CloneMAC == "" {
		if p.CloneMAC, err = parseMAC(m); err != nil {
			return c.refuse("BRIDGE_MACADDR: %v", err)
		}
	}
	if mtu, err := c.number("IPV6_MTU", 1280, 1<<20, 0); err != nil || mtu != 0 && c.scripts && int(mtu) != p.MTU {
		return cmp.Or(err, c.refuse("IPV6_MTU differs from MTU: not supported"))
	}
	for _, key := range []string{"WINDOW", "SCOPE", "EXTRA_ROUTE_OPTS"} {
		if c.scripts && c.get(key) != "" {
			return c.refuse("%s is not supported", key)
		}
	}
	if v := c.get("ARP"); c.scripts && (v == "no" || v == "NO") {
		return c.refuse("ARP=no is not supported")
	}
	return c.readEthtool()
}

// plainWord tells whether a value is a word that means the same in a shell,
// a keyfile and anything else.
func plainWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// prefixOf makes a prefix of an address and a length or netmask.
func prefixOf(a netip.Addr, prefix, netmask string) (netip.Prefix, error) {
	if prefix != "" {
		n, err := strconv.Atoi(prefix)
		if err != nil || n < 0 || n > a.BitLen() {
			return netip.Prefix{}, fmt.Errorf("%q is no prefix length", prefix)
		}
		return netip.PrefixFrom(a, n), nil
	}
	n, err := maskBits(netmask)
	return netip.PrefixFrom(a, n), err
}

// maskBits is the prefix length that a netmask means.
func maskBits(s string) (int, error) {
	m, err := parseAddr(ipv4, s)
	if err != nil {
		return 0, fmt.Errorf("%q is no netmask", s)
	}
	b := m.As4()
	bits := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := 0
	for bits&(1<<31) != 0 {
		bits <<= 1
		n++
	}
	if bits != 0 {
		return 0, fmt.Errorf("netmask %s has holes", s)
	}
	return n, nil
}

// classBits is the prefix length of an address's class: what ipcalc and
// NetworkManager assume when a file says none.
func classBits(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}
