package preserve

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxAddrs is how far network-scripts count IPADDRn.
const maxAddrs = 256

// readIP reads both families, routes and rules.
func (c *ifcfg) readIP() error {
	if c.p.Controller != "" {
		return nil // what a port says of addresses has no effect
	}
	for _, step := range []func() error{c.readV4, c.readAliases, c.readV6, c.readDNS, c.readDHCP, c.readRoutes} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *ifcfg) readV4() error {
	if err := c.readV4Method(); err != nil {
		return err
	}
	v4 := &c.p.V4
	if v4.Method == methodOff {
		return nil
	}
	// ifup-eth applies IPADDR only without DHCP; NetworkManager adds it.
	static := v4.Method == methodStatic || !c.scripts && v4.Method == methodAuto
	if static {
		if err := c.readAddrs(); err != nil {
			return err
		}
	}
	return c.readV4Default()
}

func (c *ifcfg) readV4Method() error {
	v4 := &c.p.V4
	proto := c.get("BOOTPROTO")
	if !c.scripts {
		proto = strings.ToLower(proto)
	}
	has := c.get("IPADDR") != "" || c.get("IPADDR0") != "" || c.get("IPADDR1") != "" || c.get("IPADDR2") != ""
	switch {
	case proto == "dhcp" || proto == "bootp":
		v4.Method = methodAuto
	case strings.EqualFold(proto, "ibft") || strings.EqualFold(proto, "shared"):
		return c.refuse("BOOTPROTO=%s is not supported", proto)
	case !c.scripts && proto == "autoip":
		v4.Method = methodLinkLocal
	case !c.scripts && proto != "" && proto != "none" && proto != "static":
		return c.refuse("BOOTPROTO=%q: NetworkManager does not know it", proto)
	case has:
		v4.Method = methodStatic
	default:
		v4.Method = methodOff
	}
	return nil
}

// readAddrs reads IPADDR, IPADDR0, IPADDR1, …: the first three may be missing
// (expand_config of network-functions; make_ip4_setting of NetworkManager).
func (c *ifcfg) readAddrs() error {
	v4 := &c.p.V4
	for i := -1; i < maxAddrs; i++ {
		n := ""
		if i >= 0 {
			n = strconv.Itoa(i)
		}
		a, err := c.readAddr(n, netip.Prefix{})
		if err != nil {
			return err
		}
		if a.IsValid() {
			if !slices.Contains(v4.Addrs, a) {
				v4.Addrs = append(v4.Addrs, a)
			}
			if gw := c.get("GATEWAY" + n); gw != "" && !c.scripts && !v4.Gateway.IsValid() {
				if v4.Gateway, err = parseAddr(ipv4, gw); err != nil {
					return c.refuse("GATEWAY%s: %v", n, err)
				}
				v4.Gateway = specified(v4.Gateway)
			}
		} else if i > 1 {
			return nil
		}
	}
	return nil
}

// readAddr reads IPADDRn with its length; base gives an alias its length.
func (c *ifcfg) readAddr(n string, base netip.Prefix) (netip.Prefix, error) {
	ip := c.get("IPADDR" + n)
	if ip == "" {
		return netip.Prefix{}, nil
	}
	a, err := parseAddr(ipv4, ip)
	if err != nil {
		return netip.Prefix{}, c.refuse("IPADDR%s: %v", n, err)
	}
	prefix, mask := c.get("PREFIX"+n), c.get("NETMASK"+n)
	if prefix == "" && mask == "" {
		bits := classBits(a)
		if base.IsValid() {
			bits = base.Bits()
		}
		return netip.PrefixFrom(a, bits), nil
	}
	p, err := prefixOf(a, prefix, mask)
	if err != nil {
		return netip.Prefix{}, c.refuse("IPADDR%s=%s: %v", n, a, err)
	}
	return p, nil
}

// readV4Default reads whether and where the default route goes.
func (c *ifcfg) readV4Default() error {
	v4, device := &c.p.V4, c.p.Name
	v4.IgnoreRoutes = !c.scripts && !c.yes("PEERROUTES", true)
	v4.MustSucceed = c.yes("IPV4_FAILURE_FATAL", false)
	v4.NeverDefault = !c.yes("DEFROUTE", true)
	gatewayDev := c.get("GATEWAYDEV")
	if !c.scripts {
		gatewayDev = c.r.global["GATEWAYDEV"]
		if gatewayDev != "" && device != "" {
			v4.NeverDefault = gatewayDev != device
		}
		return c.readV4NM()
	}
	if gatewayDev != "" && gatewayDev != device {
		v4.NeverDefault = true
	}
	metric, err := c.number("METRIC", 0, 1<<32-1, -1)
	if err != nil {
		return err
	}
	if v4.Method != methodStatic {
		v4.Metric = metric
		return nil
	}
	return c.readV4Gateway(gatewayDev, metric)
}

// readV4Gateway is ifup-eth's "Set a default route": only a gateway on the
// first address's network counts.
func (c *ifcfg) readV4Gateway(gatewayDev string, metric int64) error {
	v4 := &c.p.V4
	if v4.NeverDefault || len(v4.Addrs) == 0 {
		return nil
	}
	r := netRoute{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Attrs: map[string]string{}}
	if gw := c.get("GATEWAY"); gw != "" {
		a, err := parseAddr(ipv4, gw)
		if err != nil {
			return c.refuse("GATEWAY: %v", err)
		}
		if v4.Addrs[0].Contains(a) {
			r.Via = a
		} else if _, own := c.v["GATEWAY"]; own {
			c.r.note(Warning, absolute(c.file), "GATEWAY=%s is not on %s: network-scripts make no default route of it, nor will the new system", a, v4.Addrs[0].Masked())
		}
	}
	if !r.Via.IsValid() && gatewayDev != c.p.Name {
		return nil
	}
	src := c.get("SRCADDR")
	if r.Via.IsValid() && src == "" {
		v4.Gateway, v4.Metric = r.Via, metric
		return nil
	}
	// A default route with more to it than a gateway.
	if src != "" {
		a, err := parseAddr(ipv4, src)
		if err != nil {
			return c.refuse("SRCADDR: %v", err)
		}
		r.Attrs["src"] = a.String()
	}
	if metric > 0 {
		r.Attrs["metric"] = strconv.FormatInt(metric, 10)
	}
	v4.Routes = append(v4.Routes, r)
	return nil
}

// readV4NM is what only NetworkManager's plugin reads.
func (c *ifcfg) readV4NM() error {
	v4 := &c.p.V4
	var err error
	if v4.Metric, err = c.number("IPV4_ROUTE_METRIC", -1, 1<<32-1, -1); err != nil {
		return err
	}
	table, err := c.number("IPV4_ROUTE_TABLE", 0, 1<<32-1, 0)
	if err != nil {
		return err
	}
	v4.Table = uint32(table)
	if c.v["GATEWAY"] != "" && c.v["IPADDR"] == "" && len(v4.Addrs) > 0 && !v4.Gateway.IsValid() {
		c.r.note(Warning, absolute(c.file), "NetworkManager reads GATEWAY only beside IPADDR, and GATEWAY0 beside IPADDR0: no default route")
	}
	if gw := c.r.global["GATEWAY"]; gw != "" && !v4.Gateway.IsValid() && len(v4.Addrs) > 0 {
		if v4.Gateway, err = parseAddr(ipv4, gw); err != nil {
			return refusal("/etc/sysconfig/network", "", "GATEWAY: %v", err)
		}
		v4.Gateway = specified(v4.Gateway)
	}
	prio, err := c.number("IPV4_DNS_PRIORITY", -1<<31, 1<<31-1, 0)
	v4.DNSPriority = int(prio)
	return err
}

// readAliases reads ifcfg-NAME:x and ifcfg-NAME-rangex.
func (c *ifcfg) readAliases() error {
	parent := c.p.Name
	if !c.scripts {
		parent = c.suffix // NetworkManager goes by the file's name
	}
	for _, a := range c.r.sortedAliases(parent) {
		a.scripts = c.scripts
		if err := c.readAlias(a); err != nil {
			return err
		}
	}
	return c.readRanges(parent)
}

func (c *ifcfg) readAlias(a *ifcfg) error {
	device := a.v["DEVICE"]
	switch {
	case device == "" && c.scripts:
		device = a.suffix
	case !c.scripts && device != a.suffix:
		c.r.note(Warning, absolute(a.file), "DEVICE is not %s: NetworkManager ignores the file", a.suffix)
		return nil
	}
	if !validAlias(device) {
		return a.refuse("DEVICE=%q is no alias", device)
	}
	if on := a.v["ONPARENT"]; c.scripts && (on == "no" || on == "NO") {
		c.r.note(Dropped, absolute(a.file), "ONPARENT=no: the alias is not brought up at boot")
		return nil
	}
	if c.scripts && c.v["GATEWAY"] != a.v["GATEWAY"] && a.v["GATEWAY"] != "" {
		return a.refuse("an alias with a GATEWAY of its own is not supported: write a route file")
	}
	if c.scripts {
		c.r.aliasV6(c, a)
	}
	return c.addAlias(a, a.v["IPADDR"])
}

// aliasV6 adds what ifup-ipv6 does for an alias file.
func (r *netReader) aliasV6(c, a *ifcfg) {
	if a.v["IPV6ADDR"] != "" && !isFalse(a.get("IPV6INIT")) {
		c.v["IPV6ADDR_SECONDARIES"] = strings.TrimSpace(c.v["IPV6ADDR_SECONDARIES"] + " " + a.v["IPV6ADDR"] + " " + a.v["IPV6ADDR_SECONDARIES"])
	}
}

// addAlias adds one address with the length of the alias, its parent's, or
// the first address's.
func (c *ifcfg) addAlias(a *ifcfg, ip string) error {
	if ip == "" {
		if a.v["IPV6ADDR"] == "" || !c.scripts {
			c.r.note(Warning, absolute(a.file), "it has no IPADDR and no effect")
		}
		return nil
	}
	addr, err := parseAddr(ipv4, ip)
	if err != nil {
		return a.refuse("IPADDR: %v", err)
	}
	prefix, mask := a.v["PREFIX"], a.v["NETMASK"]
	if c.scripts && prefix == "" && (mask == "" || c.v["PREFIX"] != "") {
		// ini_env: the parent's PREFIX wins over the alias's own NETMASK.
		prefix = c.v["PREFIX"]
		if mask == "" {
			mask = c.v["NETMASK"]
		}
	}
	v4 := &c.p.V4
	var p netip.Prefix
	switch {
	case prefix == "" && mask == "" && len(v4.Addrs) > 0:
		p = netip.PrefixFrom(addr, v4.Addrs[0].Bits())
	case prefix == "" && mask == "":
		p = netip.PrefixFrom(addr, classBits(addr))
	default:
		if p, err = prefixOf(addr, prefix, mask); err != nil {
			return a.refuse("IPADDR=%s: %v", addr, err)
		}
	}
	if !slices.ContainsFunc(v4.Addrs, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
		v4.Addrs = append(v4.Addrs, p)
	}
	if v4.Method == methodOff {
		v4.Method = methodStatic
	}
	return nil
}
