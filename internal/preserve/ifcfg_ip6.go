package preserve

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// readV6 reads IPv6: ifup-ipv6 of network-scripts, make_ip6_setting of
// NetworkManager.
func (c *ifcfg) readV6() error {
	v6 := &c.p.V6
	if isTrue(c.get("IPV6TO4INIT")) {
		return c.refuse("6to4 (IPV6TO4INIT) is not supported")
	}
	init := c.get("IPV6INIT")
	if init == "" && !c.scripts {
		init = c.r.global["IPV6INIT"]
		if init == "" {
			init = "no"
		}
	}
	disabled := isFalse(init)
	if !c.scripts {
		disabled = !nmBool(init, false)
	}
	switch {
	case !c.scripts && nmBool(c.get("IPV6_DISABLED"), false):
		v6.Method = methodOff
		return nil
	case disabled:
		// Neither touches the interface: the kernel takes router
		// advertisements as net.ipv6.conf says.
		v6.Method = methodIgnore
		return nil
	}
	if err := c.readV6Addrs(); err != nil {
		return err
	}
	c.readV6Method()
	if err := c.readV6Gateway(); err != nil {
		return err
	}
	return c.readV6Options()
}

func (c *ifcfg) readV6Addrs() error {
	v6 := &c.p.V6
	for _, s := range strings.Fields(c.get("IPV6ADDR") + " " + c.get("IPV6ADDR_SECONDARIES")) {
		host, length, slash := strings.Cut(s, "/")
		if !slash {
			length = "64" // ipv6_add_addr_on_device, parse_full_ip6_address
		}
		a, err := parseAddr(ipv6, host)
		if err != nil {
			return c.refuse("IPV6ADDR: %v", err)
		}
		p, err := prefixOf(a, length, "")
		if err != nil {
			return c.refuse("IPV6ADDR=%s: %v", a, err)
		}
		if !slices.Contains(v6.Addrs, p) {
			v6.Addrs = append(v6.Addrs, p)
		}
	}
	return nil
}

func (c *ifcfg) readV6Method() {
	v6 := &c.p.V6
	auto := !c.yes("IPV6FORWARDING", false)
	auto = c.yes("IPV6_AUTOCONF", auto)
	dhcp := c.yes("DHCPV6C", false)
	switch {
	case auto:
		v6.Method = methodAuto
		if dhcp && c.scripts {
			c.r.note(Warning, absolute(c.file), "DHCPV6C=yes: NetworkManager asks for an address only when the router's advertisements say so")
		}
	case dhcp:
		v6.Method = methodDHCP
	case len(v6.Addrs) > 0:
		v6.Method = methodStatic
	default:
		v6.Method = methodLinkLocal
	}
}

// readV6Gateway reads IPV6_DEFAULTGW, which may name the interface after a
// percent sign, and IPV6_DEFAULTDEV.
func (c *ifcfg) readV6Gateway() error {
	v6, device := &c.p.V6, c.p.Name
	gw, dev := c.get("IPV6_DEFAULTGW"), c.get("IPV6_DEFAULTDEV")
	if !c.scripts {
		return c.readV6GatewayNM(gw)
	}
	gw, scope, _ := strings.Cut(gw, "%")
	if scope != "" {
		dev = scope
	}
	if gw == "" && dev != "" && dev == device {
		v6.Routes = append(v6.Routes, netRoute{Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Attrs: map[string]string{}})
		return nil
	}
	if gw == "" || dev != "" && dev != device {
		return nil
	}
	a, err := parseAddr(ipv6, gw)
	if err != nil {
		return c.refuse("IPV6_DEFAULTGW: %v", err)
	}
	onLink := slices.ContainsFunc(v6.Addrs, func(p netip.Prefix) bool { return p.Contains(a) })
	if dev == device || onLink {
		v6.Gateway = a
		return nil
	}
	if _, own := c.v["IPV6_DEFAULTGW"]; own {
		// The kernel has no way there when ifup-ipv6 adds the route.
		c.r.note(Warning, absolute(c.file), "IPV6_DEFAULTGW=%s is on none of the interface's networks and names no interface: no default route", a)
	}
	return nil
}

func (c *ifcfg) readV6GatewayNM(gw string) error {
	v6 := &c.p.V6
	v6.NeverDefault = !c.yes("IPV6_DEFROUTE", true)
	globalGW, dev := c.r.global["IPV6_DEFAULTGW"], c.r.global["IPV6_DEFAULTDEV"]
	if _, scope, ok := strings.Cut(globalGW, "%"); ok {
		dev = scope
	}
	if dev != "" && c.p.Name != "" {
		v6.NeverDefault = dev != c.p.Name
	}
	if gw == "" {
		gw = globalGW
	}
	gw, _, _ = strings.Cut(gw, "%")
	if gw == "" || len(v6.Addrs) == 0 {
		return nil
	}
	a, err := parseAddr(ipv6, gw)
	if err != nil {
		return c.refuse("IPV6_DEFAULTGW: %v", err)
	}
	v6.Gateway = specified(a)
	return nil
}

// readV6Options reads the rest.
func (c *ifcfg) readV6Options() error {
	v6 := &c.p.V6
	v6.AddrGen, v6.Privacy = "eui64", -1
	if p := c.get("IPV6_PRIVACY"); p == "rfc3041" || !c.scripts && (p == "rfc4941" || nmBool(p, false)) {
		v6.Privacy = 2
		if !c.scripts && c.yes("IPV6_PRIVACY_PREFER_PUBLIC_IP", false) {
			v6.Privacy = 1
		}
	} else if p != "" && !c.scripts {
		v6.Privacy = 0
	}
	if c.scripts {
		if c.get("IPV6_FORCE_ACCEPT_RA") == "yes" && v6.Method != methodAuto {
			return c.refuse("IPV6_FORCE_ACCEPT_RA is not supported")
		}
		return nil
	}
	v6.IgnoreRoutes = !c.yes("IPV6_PEERROUTES", true)
	v6.IgnoreDNS = !c.yes("IPV6_PEERDNS", true)
	v6.MustSucceed = c.yes("IPV6_FAILURE_FATAL", false)
	switch mode := c.get("IPV6_ADDR_GEN_MODE"); mode {
	case "", "eui64":
	case "stable-privacy":
		v6.AddrGen = mode
	default:
		return c.refuse("IPV6_ADDR_GEN_MODE=%q is not supported", mode)
	}
	if t := c.get("IPV6_TOKEN"); t != "" {
		a, err := parseAddr(ipv6, t)
		if err != nil {
			return c.refuse("IPV6_TOKEN: %v", err)
		}
		v6.Token = a.String()
	}
	var err error
	if v6.Metric, err = c.number("IPV6_ROUTE_METRIC", -1, 1<<32-1, -1); err != nil {
		return err
	}
	table, err := c.number("IPV6_ROUTE_TABLE", 0, 1<<32-1, 0)
	if err != nil {
		return err
	}
	v6.Table = uint32(table)
	prio, err := c.number("IPV6_DNS_PRIORITY", -1<<31, 1<<31-1, 0)
	v6.DNSPriority = int(prio)
	return err
}

// readDNS reads DNS1…, DOMAIN and the old SEARCH.
func (c *ifcfg) readDNS() error {
	p := c.p
	p.V4.IgnoreDNS = !c.yes("PEERDNS", true)
	if c.scripts {
		p.V6.IgnoreDNS = p.V4.IgnoreDNS
		if p.V4.IgnoreDNS {
			return nil // ifup-post leaves resolv.conf alone
		}
	}
	most := 10
	if c.scripts {
		most = 3
	}
	for i := 1; i <= most; i++ {
		key := "DNS" + strconv.Itoa(i)
		s := c.get(key)
		if s == "" {
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return c.refuse("%s=%q is no address", key, s)
		}
		if c.scripts {
			if !slices.Contains(p.scriptDNS, a) {
				p.scriptDNS = append(p.scriptDNS, a)
			}
			continue
		}
		spec := familyOf(a).of(p)
		usable := spec.Method != methodOff && spec.Method != methodIgnore
		if usable && !slices.Contains(spec.DNS, a) {
			spec.DNS = append(spec.DNS, a)
		}
	}
	return c.readSearch()
}

func (c *ifcfg) readSearch() error {
	p := c.p
	domains := strings.Fields(c.get("DOMAIN"))
	if len(domains) == 0 && !c.scripts {
		domains = strings.Fields(c.get("SEARCH"))
	}
	for _, d := range append(slices.Clone(domains), strings.Fields(c.get("IPV6_DOMAIN"))...) {
		if !plainWord(strings.TrimPrefix(d, "~")) {
			return c.refuse("DOMAIN: %q is no domain", d)
		}
	}
	switch {
	case c.scripts || p.V4.Method != methodOff:
		p.V4.Search = domains
	case p.V6.Method != methodOff && p.V6.Method != methodIgnore:
		p.V6.Search = domains
	}
	if !c.scripts {
		if p.V6.Method != methodOff && p.V6.Method != methodIgnore {
			p.V6.Search = append(p.V6.Search, strings.Fields(c.get("IPV6_DOMAIN"))...)
		}
		options := strings.Fields(c.v["RES_OPTIONS"])
		if len(options) == 0 {
			options = strings.Fields(c.r.global["RES_OPTIONS"])
		}
		if p.V4.Method != methodOff {
			p.V4.DNSOptions = options
		}
	}
	for _, o := range p.V4.DNSOptions {
		if !plainWord(strings.ReplaceAll(o, ":", "")) {
			return c.refuse("RES_OPTIONS: %q is no resolver option", o)
		}
	}
	return nil
}

// readDHCP reads what is sent to a DHCP server.
func (c *ifcfg) readDHCP() error {
	p := c.p
	for key, to := range map[string]*string{"DHCP_HOSTNAME": &p.V4.Hostname, "DHCP_FQDN": &p.V4.FQDN, "DHCPV6_HOSTNAME": &p.V6.Hostname} {
		v := c.get(key)
		if v != "" && !plainWord(v) {
			return c.refuse("%s=%q is no host name", key, v)
		}
		*to = v
	}
	if p.V4.FQDN != "" {
		p.V4.Hostname = ""
	}
	p.V4.NoHostname = !c.yes("DHCP_SEND_HOSTNAME", true)
	p.V6.NoHostname = !c.yes("DHCPV6_SEND_HOSTNAME", true)
	if c.scripts {
		if p.V4.Method == methodAuto && c.get("DHCLIENTARGS") != "" {
			return c.refuse("DHCLIENTARGS is not supported")
		}
		if p.V6.dynamic() && c.get("DHCPV6C_OPTIONS") != "" {
			return c.refuse("DHCPV6C_OPTIONS is not supported")
		}
		return nil
	}
	for key, to := range map[string]*string{"DHCP_CLIENT_ID": &p.V4.ClientID, "DHCPV6_DUID": &p.V6.DUID, "DHCP_IAID": &p.V4.IAID, "DHCPV6_IAID": &p.V6.IAID} {
		v := c.get(key)
		if !printable(v) {
			return c.refuse("%s=%q is not printable", key, v)
		}
		*to = v
	}
	if p.V6.DUID == "" {
		p.V6.DUID = c.get("DHCPv6_DUID") // before NetworkManager 1.12
	}
	return nil
}

// printable tells whether a value can be written to a keyfile as it is.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return strings.TrimSpace(s) == s && !strings.Contains(s, `\`)
}
