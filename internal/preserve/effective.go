package preserve

import (
	"cmp"
	"net/netip"
)

// netState is what a system's network files make the machine do: the
// EFFECTIVE state. Two systems with the same state answer at the same
// addresses, whatever the files look like. It is read from each side's files
// by that side's own reader, and compared as text (see effective_text.go).
type netState struct {
	profiles []*netProfile
	resolver resolver
	opaque   map[string]string // path → SHA-256 of files that are carried unread
	// idleDHCP: NetworkManager brings interfaces without a profile up with
	// DHCP (no no-auto-default in its configuration).
	idleDHCP bool
	// unmanaged is NetworkManager's unmanaged-devices.
	unmanaged string
}

// linkKind is what an interface is.
type linkKind uint8

const (
	_ linkKind = iota
	linkEthernet
	linkBond
	linkVLAN
	linkBridge
	linkOther // a NetworkManager type that is carried unread, see netProfile.Type
)

func (k linkKind) String() string {
	switch k {
	case linkEthernet:
		return "ethernet"
	case linkBond:
		return "bond"
	case linkVLAN:
		return "vlan"
	case linkBridge:
		return "bridge"
	case linkOther:
		return "other"
	}
	return "invalid"
}

// netProfile is the configuration of one interface.
type netProfile struct {
	File string // where it was read, as a path of its tree

	// Not part of the effective state.
	ID, UUID string
	vars     []shellVar // of an ifcfg file
	scripts  bool       // brought up by network-scripts, not NetworkManager

	// scriptDNS is DNS1…3 in the order that network-scripts write them in.
	scriptDNS []netip.Addr

	Kind linkKind
	Type string // of linkOther
	Name string // interface name; "" when only the MAC is known
	MAC  string // permanent address of an Ethernet interface; "" when not known
	Auto bool   // up at boot
	// Absent: the machine has no card of this MAC, the interface of this name
	// is another one.
	Absent bool

	CloneMAC string
	MTU      int
	Zone     string // of firewalld
	Ethtool  map[string]string

	Controller string            // name of the bond or bridge that this is a port of
	Port       map[string]string // options as a port of a bridge
	Options    map[string]string // options of a bond or bridge
	VLAN       vlanSpec

	V4, V6 ipSpec

	// Extra holds settings of a keyfile that this package does not know: they
	// are compared as text and never translated.
	Extra map[string]string
}

// vlanSpec is the VLAN part of a profile.
type vlanSpec struct {
	Parent          string // interface name
	ID              int
	Flags           uint32 // as NetworkManager's vlan.flags: 1 reorder, 2 GVRP, 4 loose, 8 MVRP
	Ingress, Egress []string
}

// VLAN flags, as in NetworkManager's NMVlanFlags.
const (
	vlanReorder = 1
	vlanGVRP    = 2
	vlanLoose   = 4
	vlanMVRP    = 8
)

// ipMethod is where an interface's addresses of one family come from.
type ipMethod uint8

const (
	_            ipMethod = iota
	methodOff             // no addresses of this family
	methodIgnore          // IPv6 only: left to the kernel
	methodStatic
	methodAuto      // DHCP for IPv4; router advertisements (and DHCPv6 if they say so) for IPv6
	methodDHCP      // IPv6 only: DHCPv6 without addresses from router advertisements
	methodLinkLocal // a link-local address only
)

func (m ipMethod) String() string {
	switch m {
	case methodOff:
		return "off"
	case methodIgnore:
		return "kernel"
	case methodStatic:
		return "static"
	case methodAuto:
		return "auto"
	case methodDHCP:
		return "dhcp"
	case methodLinkLocal:
		return "link-local"
	}
	return "invalid"
}

// ipSpec is the configuration of one address family of an interface.
type ipSpec struct {
	Method ipMethod
	Addrs  []netip.Prefix

	Gateway      netip.Addr
	NeverDefault bool
	IgnoreRoutes bool // routes from DHCP or router advertisements
	IgnoreDNS    bool // name servers from there
	MustSucceed  bool
	Metric       int64 // -1: the system's choice
	Table        uint32
	Routes       []netRoute
	Rules        []netRule

	DNS         []netip.Addr
	Search      []string
	DNSOptions  []string
	DNSPriority int

	ClientID, DUID, IAID string
	Hostname, FQDN       string
	NoHostname           bool // do not send one

	Privacy int    // IPv6 temporary addresses: -1 not said, 0 off, 1, 2
	AddrGen string // "eui64", "stable-privacy"
	Token   string
}

// netRoute is a static route. Attributes are words of ip-route(8) with
// canonical values: metric, table, src, mtu, window, cwnd, initcwnd,
// initrwnd, tos, scope, type, onlink, lock-….
type netRoute struct {
	Dst   netip.Prefix
	Via   netip.Addr
	Attrs map[string]string
}

// netRule is a policy routing rule in the words of ip-rule(8).
type netRule struct {
	Priority int64 // -1: not given
	Attrs    map[string]string
}

// resolver is how names are resolved when no name server comes from DHCP.
type resolver struct {
	Servers []netip.Addr
	Search  []string
	Options []string
	// File: /etc/resolv.conf is the customer's, no program rewrites it.
	File bool
}

// family says which half of a profile is meant.
type family uint8

const (
	_ family = iota
	ipv4
	ipv6
)

func (f family) bits() int {
	if f == ipv4 {
		return 32
	}
	return 128
}

func (f family) of(p *netProfile) *ipSpec {
	if f == ipv4 {
		return &p.V4
	}
	return &p.V6
}

func (f family) owns(a netip.Addr) bool { return a.Is4() == (f == ipv4) }

// familyOf is the family of an address.
func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// dynamic tells whether addresses, routes and name servers come from outside.
func (c *ipSpec) dynamic() bool { return c.Method == methodAuto || c.Method == methodDHCP }

// defaultVia is the gateway in use, invalid when there is none.
func (c *ipSpec) defaultVia() netip.Addr {
	if c.NeverDefault || c.Method == methodOff || c.Method == methodIgnore {
		return netip.Addr{}
	}
	return c.Gateway
}

// active tells whether the profile gives its interface addresses of its own.
func (p *netProfile) active() bool { return p.Auto && p.Controller == "" }

// key names the interface: by MAC where it is known, for a name can change.
func (p *netProfile) key() string { return cmp.Or(p.MAC, p.Name, anyLink) }

// anyLink is the key of a profile that names no interface.
const anyLink = "any"

// label names the interface for the user.
func (p *netProfile) label() string { return cmp.Or(p.Name, p.MAC, p.ID, anyLink) }
