package preserve

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ip reads [ipv4] or [ipv6].
func (g *reading) ip(f family) error {
	group := "ipv4"
	if f == ipv6 {
		group = "ipv6"
	}
	c := f.of(g.p)
	if err := g.method(f, group, c); err != nil {
		return err
	}
	if err := g.addresses(f, group, c); err != nil {
		return err
	}
	if err := g.routes(f, group, c); err != nil {
		return err
	}
	if err := g.resolver(f, group, c); err != nil {
		return err
	}
	return g.dynamic(f, group, c)
}

func (g *reading) method(f family, group string, c *ipSpec) error {
	switch m := g.str(group, "method"); m {
	case "auto", "":
		c.Method = methodAuto // what NetworkManager makes of a missing one
	case "manual":
		c.Method = methodStatic
	case "disabled":
		c.Method = methodOff
	case "link-local":
		c.Method = methodLinkLocal
	case "ignore", "dhcp":
		if f != ipv6 {
			return g.refuse("[%s] method=%q is not known", group, m)
		}
		c.Method = methodIgnore
		if m == "dhcp" {
			c.Method = methodDHCP
		}
	default:
		return g.refuse("[%s] method=%q is not supported", group, m)
	}
	return nil
}

// numbered returns the keys NAME, NAME0, NAME1, … of all the names, in the
// order of their numbers.
func (g *reading) numbered(group string, names ...string) []string {
	found := map[int]string{}
	for _, gr := range g.k.groups {
		if gr.name != group {
			continue
		}
		for _, e := range gr.entries {
			for _, name := range names {
				digits, ok := strings.CutPrefix(e.key, name)
				if !ok || len(digits) > 6 {
					continue
				}
				n := -1
				if digits != "" {
					u, err := strconv.ParseUint(digits, 10, 31)
					if err != nil {
						continue
					}
					n = int(u)
				}
				found[n] = e.key
			}
		}
	}
	var keys []string
	for _, n := range slices.Sorted(maps.Keys(found)) {
		keys = append(keys, found[n])
	}
	return keys
}

func (g *reading) addresses(f family, group string, c *ipSpec) error {
	c.Metric = -1
	gateway := g.str(group, "gateway")
	for _, key := range g.numbered(group, "address", "addresses") {
		parts := keyList(g.str(group, key))
		if len(parts) == 0 || len(parts) > 2 {
			return g.refuse("[%s] %s is no address", group, key)
		}
		host, length, slash := strings.Cut(parts[0], "/")
		a, err := parseAddr(f, host)
		if err != nil {
			return g.refuse("[%s] %s: %v", group, key, err)
		}
		if !slash {
			length = strconv.Itoa(f.bits())
		}
		p, err := prefixOf(a, length, "")
		if err != nil {
			return g.refuse("[%s] %s: %v", group, key, err)
		}
		if !slices.Contains(c.Addrs, p) {
			c.Addrs = append(c.Addrs, p)
		}
		if len(parts) == 2 && gateway == "" {
			gateway = parts[1]
		}
	}
	if gateway != "" && gateway != "0.0.0.0" && gateway != "::" {
		a, err := parseAddr(f, gateway)
		if err != nil {
			return g.refuse("[%s] gateway: %v", group, err)
		}
		c.Gateway = a
	}
	return nil
}

func (g *reading) routes(f family, group string, c *ipSpec) error {
	c.NeverDefault = g.bool(group, "never-default", false)
	c.IgnoreRoutes = g.bool(group, "ignore-auto-routes", false)
	c.MustSucceed = !g.bool(group, "may-fail", true)
	var err error
	if c.Metric, err = g.int(group, "route-metric", -1); err != nil {
		return err
	}
	table, err := g.int(group, "route-table", 0)
	if err != nil {
		return err
	}
	c.Table = uint32(table)
	for _, key := range g.numbered(group, "route", "routes") {
		r, err := g.route(f, g.str(group, key), g.str(group, key+"_options"))
		if err != nil {
			return g.refuse("[%s] %s: %v", group, key, err)
		}
		c.Routes = append(c.Routes, r)
	}
	for _, key := range g.numbered(group, "routing-rule") {
		r, err := parseRuleWords(f, strings.Fields(g.str(group, key)), g.r.tables)
		if err != nil {
			return g.refuse("[%s] %s: %v", group, key, err)
		}
		c.Rules = append(c.Rules, r)
	}
	return nil
}

// route reads "10.0.0.0/8,192.0.2.1,5" and its options "table=100,onlink=true".
func (g *reading) route(f family, value, options string) (netRoute, error) {
	parts := strings.Split(strings.TrimSuffix(strings.ReplaceAll(value, ";", ","), ","), ",")
	list := []string{strings.TrimSpace(parts[0])}
	if len(parts) > 1 && parts[1] != "" && parts[1] != "0.0.0.0" && parts[1] != "::" {
		list = append(list, "via", strings.TrimSpace(parts[1]))
	}
	if len(parts) > 2 && parts[2] != "" && parts[2] != "0" {
		list = append(list, "metric", strings.TrimSpace(parts[2]))
	}
	locked := map[string]bool{}
	for _, o := range keyList(options) {
		if k, v, _ := strings.Cut(o, "="); strings.HasPrefix(k, "lock-") && nmBool(v, false) {
			locked[strings.TrimPrefix(k, "lock-")] = true
		}
	}
	for _, o := range keyList(options) {
		k, v, _ := strings.Cut(o, "=")
		switch {
		case strings.HasPrefix(k, "lock-"):
		case k == "onlink":
			if nmBool(v, false) {
				list = append(list, k)
			}
		case k == "type":
			list = append([]string{v}, list...)
		case k == "tos":
			n, err := strconv.ParseUint(v, 10, 8) // decimal here, hexadecimal for ip
			if err != nil {
				return netRoute{}, err
			}
			list = append(list, k, strconv.FormatUint(n, 16))
		case locked[k]:
			list = append(list, k, "lock", v)
		default:
			list = append(list, k, v)
		}
	}
	r, _, err := parseRouteWords(f, list, g.r.tables)
	return r, err
}

func (g *reading) resolver(f family, group string, c *ipSpec) error {
	c.IgnoreDNS = g.bool(group, "ignore-auto-dns", false)
	prio, err := g.int(group, "dns-priority", 0)
	if err != nil {
		return err
	}
	c.DNSPriority = int(prio)
	for _, s := range keyList(g.str(group, "dns")) {
		a, err := netip.ParseAddr(s)
		if err != nil || !f.owns(a) {
			return g.refuse("[%s] dns: %q is no address of this family", group, s)
		}
		c.DNS = append(c.DNS, a)
	}
	c.Search = keyList(g.str(group, "dns-search"))
	c.DNSOptions = keyList(g.str(group, "dns-options"))
	return nil
}

// addrGenModes are NMSettingIP6ConfigAddrGenMode by number and name.
var addrGenModes = map[string]string{
	"": "eui64", "0": "eui64", "eui64": "eui64", "1": "stable-privacy", "stable-privacy": "stable-privacy",
	"2": "default-or-eui64", "default-or-eui64": "default-or-eui64", "3": "default", "default": "default",
}

func (g *reading) dynamic(f family, group string, c *ipSpec) error {
	c.ClientID = g.str(group, "dhcp-client-id")
	c.IAID = g.str(group, "dhcp-iaid")
	c.Hostname = g.str(group, "dhcp-hostname")
	c.NoHostname = !g.bool(group, "dhcp-send-hostname", true)
	if f == ipv4 {
		c.FQDN = g.str(group, "dhcp-fqdn")
		return nil
	}
	c.DUID = g.str(group, "dhcp-duid")
	c.Token = g.str(group, "token")
	mode := g.str(group, "addr-gen-mode")
	var ok bool
	if c.AddrGen, ok = addrGenModes[mode]; !ok {
		return g.refuse("addr-gen-mode=%q is not known", mode)
	}
	privacy, err := g.int(group, "ip6-privacy", -1)
	c.Privacy = int(privacy)
	return err
}
