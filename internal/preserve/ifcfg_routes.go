package preserve

import (
	"cmp"
	"errors"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pendingRoute is a route whose device is settled when all files are read:
// ip(8) takes it from the line, or from where the gateway is.
type pendingRoute struct {
	from  *ifcfg
	file  string
	fam   family
	route netRoute
	dev   string
}

// newFormat is how ifup-routes tells ADDRESSn files from lines for ip(8).
var newFormat = regexp.MustCompile(`(?m)^[ \t]*ADDRESS[0-9]+=`)

// readRoutes reads the interface's route-, route6-, rule- and rule6- files.
func (c *ifcfg) readRoutes() error {
	names := []string{c.suffix}
	if c.scripts {
		names = []string{c.p.Name}
		for _, a := range c.r.sortedAliases(c.p.Name) {
			names = append(names, a.suffix)
		}
		if c.suffix != c.p.Name {
			names = append(names, c.suffix)
		}
		if isTrue(c.get("NOROUTESET")) {
			return nil
		}
	}
	for _, n := range names {
		if !c.scripts && c.r.hasRules(n) && !c.r.sys.ruleDispatcher {
			c.r.note(Warning, absolute(path.Join(ifcfgDir, "rule-"+n)), "NetworkManager applies neither this interface's rule files nor, because of them, its route files: left out, as before")
			continue
		}
		if err := c.readRouteFiles(n); err != nil {
			return err
		}
	}
	return c.readRuleVars()
}

func (r *netReader) hasRules(name string) bool {
	return r.files.exists(path.Join(ifcfgDir, "rule-"+name)) || r.files.exists(path.Join(ifcfgDir, "rule6-"+name))
}

func (c *ifcfg) readRouteFiles(name string) error {
	for prefix, f := range map[string]family{"route-": ipv4, "route6-": ipv6} {
		file := path.Join(ifcfgDir, prefix+name)
		data := c.r.files.data(file)
		read := c.readRouteLines
		if newFormat.Match(data) {
			read = c.readRouteVars
		}
		if err := read(file, f, data); err != nil {
			return err
		}
	}
	if file := path.Join(ifcfgDir, name+".route"); c.scripts && c.r.files.exists(file) {
		if err := c.readRouteVars(file, ipv4, c.r.files.data(file)); err != nil {
			return err
		}
	}
	for _, prefix := range []string{"rule-", "rule6-"} {
		file := path.Join(ifcfgDir, prefix+name)
		f := ipv4
		if prefix == "rule6-" {
			f = ipv6
		}
		if err := c.readRuleLines(file, f, c.r.files.data(file)); err != nil {
			return err
		}
	}
	return nil
}

// readRouteVars reads ADDRESSn, NETMASKn, GATEWAYn; NetworkManager reads
// METRICn and OPTIONSn too.
func (c *ifcfg) readRouteVars(file string, f family, data []byte) error {
	vars, err := parseShell(data)
	if err != nil {
		return refusal(absolute(file), "", "%v", err)
	}
	if f == ipv6 {
		return refusal(absolute(file), "write lines for ip -6 route", "ADDRESSn is not for IPv6")
	}
	v := varsOf(vars)
	for k := range v {
		if runsThings(k) {
			return refusal(absolute(file), "", "%s changes how programs run", k)
		}
	}
	for i := 0; ; i++ {
		n := strconv.Itoa(i)
		if v["ADDRESS"+n] == "" {
			return nil
		}
		if err := c.readRouteVar(file, n, v); err != nil {
			return err
		}
	}
}

func (c *ifcfg) readRouteVar(file, n string, v shellVars) error {
	r := netRoute{Attrs: map[string]string{}}
	a, err := parseAddr(ipv4, v["ADDRESS"+n])
	if err != nil {
		return refusal(absolute(file), "", "ADDRESS%s: %v", n, err)
	}
	prefix, mask := v["PREFIX"+n], v["NETMASK"+n]
	switch {
	case mask != "" || prefix != "" && !c.scripts:
		if c.scripts {
			prefix = "" // ifup-routes knows no PREFIXn
		}
		if r.Dst, err = prefixOf(a, prefix, mask); err != nil {
			return refusal(absolute(file), "", "ADDRESS%s=%s: %v", n, a, err)
		}
	case c.scripts:
		return refusal(absolute(file), "write the netmask", "ADDRESS%s=%s has no NETMASK%s", n, a, n)
	default:
		r.Dst = netip.PrefixFrom(a, 32)
	}
	if gw := v["GATEWAY"+n]; gw != "" {
		if r.Via, err = parseAddr(ipv4, gw); err != nil {
			return refusal(absolute(file), "", "GATEWAY%s: %v", n, err)
		}
		r.Via = specified(r.Via)
	}
	if r.Dst.Masked() != r.Dst {
		if c.scripts {
			c.r.note(Warning, absolute(file), "%s has bits beyond its prefix length: ip refuses it, there is no such route", r.Dst)
			return nil
		}
		r.Dst = r.Dst.Masked()
	}
	dev := ""
	if c.scripts {
		dev = c.p.Name
	} else if err := r.readNMOptions(v["METRIC"+n], v["OPTIONS"+n], c.r.tables); err != nil {
		return refusal(absolute(file), "", "route %s: %v", n, err)
	}
	c.r.pending = append(c.r.pending, pendingRoute{c, file, ipv4, r, dev})
	return nil
}

// readNMOptions reads NetworkManager's METRICn and OPTIONSn.
func (r *netRoute) readNMOptions(metric, options string, tables routeTables) error {
	list := strings.Fields(options)
	if metric != "" {
		list = append(list, "metric", metric)
	}
	more, dev, err := parseRouteWords(ipv4, append(list, "default"), tables)
	if err != nil {
		return err
	}
	if dev != "" || more.Via.IsValid() {
		return errors.New("OPTIONS: dev and via have keys of their own")
	}
	r.Attrs = more.Attrs
	return nil
}

// configLine is a line that ifup-routes hands to ip(8); nil for a comment.
func configLine(line string) []string {
	f := strings.Fields(line)
	if len(f) == 0 || strings.HasPrefix(f[0], "#") {
		return nil
	}
	return f
}

func (c *ifcfg) readRouteLines(file string, f family, data []byte) error {
	for line := range strings.Lines(string(data)) {
		list := configLine(line)
		if list == nil {
			continue
		}
		r, dev, err := parseRouteWords(f, list, c.r.tables)
		if errors.Is(err, errNoEffect) {
			c.r.note(Warning, absolute(file), "%q: %v, there is no such route", strings.TrimSpace(line), err)
			continue
		}
		if err != nil {
			return refusal(absolute(file), "change the line, or carry the route over by hand", "%.80q: %v", strings.TrimSpace(line), err)
		}
		if c.scripts && dev == "" && !r.Via.IsValid() && r.Attrs["type"] == "" {
			c.r.note(Warning, absolute(file), "%q names neither gateway nor device: ip refuses it, there is no such route", strings.TrimSpace(line))
			continue
		}
		c.r.pending = append(c.r.pending, pendingRoute{c, file, f, r, dev})
	}
	return nil
}

func (c *ifcfg) readRuleLines(file string, f family, data []byte) error {
	for line := range strings.Lines(string(data)) {
		list := configLine(line)
		if list == nil {
			continue
		}
		r, err := parseRuleWords(f, list, c.r.tables)
		if err != nil {
			return refusal(absolute(file), "change the line, or carry the rule over by hand", "%.80q: %v", strings.TrimSpace(line), err)
		}
		spec := f.of(c.p)
		spec.Rules = append(spec.Rules, r)
	}
	return nil
}

var ruleKey = regexp.MustCompile(`^ROUTING_RULE(6?)_[0-9]+$`)

// readRuleVars reads ROUTING_RULE_n, which NetworkManager has from 1.18 on.
func (c *ifcfg) readRuleVars() error {
	if !c.scripts && c.r.hasRules(c.suffix) {
		return nil // NetworkManager ignores them beside rule files
	}
	for _, v := range c.vars {
		m := ruleKey.FindStringSubmatch(v.Name)
		if m == nil || v.Value == "" {
			continue
		}
		if c.scripts {
			c.r.note(Dropped, absolute(c.file), "%s: network-scripts do not know it", v.Name)
			continue
		}
		f := ipv4
		if m[1] != "" {
			f = ipv6
		}
		r, err := parseRuleWords(f, strings.Fields(v.Value), c.r.tables)
		if err != nil {
			return c.refuse("%s: %v", v.Name, err)
		}
		if r.Priority < 0 {
			return c.refuse("%s: NetworkManager wants a priority", v.Name)
		}
		spec := f.of(c.p)
		spec.Rules = append(spec.Rules, r)
	}
	return nil
}

// placeRoutes gives every route to the interface that the kernel would.
func (r *netReader) placeRoutes() error {
	slices.SortStableFunc(r.pending, func(a, b pendingRoute) int { return cmp.Compare(a.file, b.file) })
	for _, q := range r.pending {
		p := q.from.p
		if q.from.scripts {
			var err error
			if p, err = r.routeOwner(q); err != nil {
				return err
			}
		}
		spec := q.fam.of(p)
		if !q.from.scripts && (spec.Method == methodOff || spec.Method == methodIgnore) {
			continue // NetworkManager passes routes of an unused family by
		}
		spec.Routes = append(spec.Routes, q.route)
	}
	return nil
}

// routeOwner finds the interface of a route added by network-scripts.
func (r *netReader) routeOwner(q pendingRoute) (*netProfile, error) {
	own := q.from.p
	if q.dev == own.Name || q.dev == "" && !q.route.Via.IsValid() {
		return own, nil
	}
	if q.dev != "" {
		for _, p := range r.profiles {
			if p.Name == q.dev && p.Controller == "" {
				return p, nil
			}
		}
		return nil, refusal(absolute(q.file), "move the line to the interface's own file", "a route to %s on %s, which no file configures", q.route.Dst, q.dev)
	}
	if onLink(own, q.fam, q.route.Via) || q.fam.of(own).dynamic() {
		return own, nil
	}
	for _, p := range r.profiles {
		if p.active() && onLink(p, q.fam, q.route.Via) {
			return p, nil
		}
	}
	return own, nil
}

// onLink tells whether an address is on one of the profile's networks.
func onLink(p *netProfile, f family, a netip.Addr) bool {
	return slices.ContainsFunc(f.of(p).Addrs, func(n netip.Prefix) bool { return n.Contains(a) })
}
