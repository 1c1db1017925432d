package preserve

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// text is the state in a canonical form: one line for each fact, so that the
// first differing line names what would be lost.
func (s *netState) text() string {
	var blocks []string
	for _, p := range s.profiles {
		blocks = append(blocks, p.text())
	}
	slices.Sort(blocks)
	var b strings.Builder
	for _, block := range blocks {
		b.WriteString(block)
	}
	b.WriteString(s.resolver.text())
	if s.idleDHCP {
		b.WriteString("other interfaces dhcp\n")
	}
	if s.unmanaged != "" {
		fmt.Fprintf(&b, "unmanaged %s\n", s.unmanaged)
	}
	for _, name := range slices.Sorted(maps.Keys(s.opaque)) {
		fmt.Fprintf(&b, "file /%s %s\n", name, s.opaque[name])
	}
	return b.String()
}

func (p *netProfile) text() string {
	var b strings.Builder
	state := "up"
	if !p.Auto {
		state = "down"
	}
	kind := p.Kind.String()
	if p.Kind == linkOther {
		kind = p.Type
	}
	name := cmp.Or(p.Name, "?")
	if p.Absent {
		name = "?"
	}
	fmt.Fprintf(&b, "link %s name %s %s %s\n", p.key(), name, kind, state)
	line := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	if p.CloneMAC != "" {
		line("address %s", p.CloneMAC)
	}
	if p.MTU != 0 {
		line("mtu %d", p.MTU)
	}
	if p.Zone != "" {
		line("zone %s", p.Zone)
	}
	if p.Controller != "" {
		line("port of %s%s", p.Controller, words(p.Port))
	}
	if p.Kind == linkVLAN {
		line("vlan %d of %s flags %d ingress %s egress %s", p.VLAN.ID, p.VLAN.Parent, p.VLAN.Flags,
			strings.Join(p.VLAN.Ingress, ","), strings.Join(p.VLAN.Egress, ","))
	}
	if len(p.Options) > 0 {
		line("%s%s", kind, words(p.Options))
	}
	if len(p.Ethtool) > 0 {
		line("ethtool%s", words(p.Ethtool))
	}
	if len(p.Extra) > 0 {
		line("also%s", words(p.Extra))
	}
	if p.Controller == "" {
		p.V4.text(line, "inet")
		p.V6.text(line, "inet6")
	}
	return b.String()
}

func (c *ipSpec) text(line func(string, ...any), family string) {
	if c.Method != methodOff {
		line("%s %s", family, c.Method)
	}
	for _, r := range sortedText(c.Routes) {
		line("%s route %s", family, r)
	}
	for _, r := range sortedText(c.Rules) {
		line("%s rule %s", family, r)
	}
	if c.Method == methodOff || c.Method == methodIgnore {
		return
	}
	for i, a := range c.Addrs {
		// The first address is the source of what the machine sends.
		if i == 0 && c.Method == methodStatic {
			line("%s address %s primary", family, a)
		} else {
			line("%s address %s", family, a)
		}
	}
	switch {
	case c.NeverDefault:
		if c.dynamic() {
			line("%s no default route", family)
		}
	case c.Gateway.IsValid():
		line("%s default via %s%s", family, c.Gateway, c.metric())
	case c.Metric >= 0:
		line("%s routes%s", family, c.metric())
	}
	if c.Table != 0 {
		line("%s table %d", family, c.Table)
	}
	c.dynamicText(line, family)
}

func (c *ipSpec) metric() string {
	if c.Metric < 0 {
		return ""
	}
	return " metric " + strconv.FormatInt(c.Metric, 10)
}

// dynamicText is the part that matters to DHCP and router advertisements.
func (c *ipSpec) dynamicText(line func(string, ...any), family string) {
	said := map[string]string{
		"client-id": c.ClientID, "duid": c.DUID, "iaid": c.IAID, "hostname": c.Hostname,
		"fqdn": c.FQDN, "token": c.Token,
	}
	flags := map[string]bool{
		"ignores-routes": c.IgnoreRoutes, "ignores-dns": c.IgnoreDNS,
		"sends-no-hostname": c.NoHostname, "must-succeed": c.MustSucceed,
	}
	if !c.dynamic() {
		// Nothing comes from outside, so there is nothing to ignore or send.
		clear(said)
		clear(flags)
		flags["must-succeed"] = c.MustSucceed
	}
	if family == "inet6" && c.Privacy > 0 {
		said["privacy"] = strconv.Itoa(c.Privacy)
	}
	if family == "inet6" && c.AddrGen != "" && c.AddrGen != "eui64" {
		said["addresses"] = c.AddrGen
	}
	for _, k := range slices.Sorted(maps.Keys(said)) {
		if said[k] != "" {
			line("%s %s %s", family, k, said[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(flags)) {
		if flags[k] {
			line("%s %s", family, k)
		}
	}
}

// sortedText sorts what the kernel keeps in an order of its own.
func sortedText[T fmt.Stringer](list []T) []string {
	var s []string
	for _, v := range list {
		s = append(s, v.String())
	}
	slices.Sort(s)
	return slices.Compact(s)
}

func (r netRoute) String() string {
	s := r.Dst.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	return s + words(r.Attrs)
}

func (r netRule) String() string {
	return "priority " + strconv.FormatInt(r.Priority, 10) + words(r.Attrs)
}

func (r resolver) text() string {
	var b strings.Builder
	if len(r.Servers) > 0 {
		fmt.Fprintf(&b, "dns %s\n", joinAddrs(r.Servers, " "))
	}
	if len(r.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(&b, "resolver options %s\n", strings.Join(slices.Sorted(slices.Values(r.Options)), " "))
	}
	return b.String()
}

// words writes a map as " key value key value", sorted; flags have no value.
func words(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b.WriteString(" " + k)
		if m[k] != "" {
			b.WriteString(" " + m[k])
		}
	}
	return b.String()
}

func joinAddrs(list []netip.Addr, sep string) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, sep)
}

// difference describes the first facts that one state has and the other has
// not; "" when they are equal.
func (s *netState) difference(after *netState) string {
	a, b := s.text(), after.text()
	if a == b {
		return ""
	}
	lost, added := missingLines(a, b), missingLines(b, a)
	var parts []string
	if len(lost) > 0 {
		parts = append(parts, "without "+quoteFew(lost))
	}
	if len(added) > 0 {
		parts = append(parts, "with "+quoteFew(added))
	}
	if len(parts) == 0 {
		return "the same facts on other interfaces"
	}
	return strings.Join(parts, ", ")
}

// missingLines returns the lines of a that b has not, with their interface.
func missingLines(a, b string) []string {
	have := map[string]bool{}
	for _, l := range owned(b) {
		have[l] = true
	}
	var missing []string
	for _, l := range owned(a) {
		if !have[l] {
			missing = append(missing, l)
		}
	}
	return missing
}

// owned puts each indented line behind its interface's key.
func owned(text string) []string {
	var lines []string
	owner := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "  "); ok {
			lines = append(lines, owner+": "+rest)
			continue
		}
		if f := strings.Fields(line); f[0] == "link" {
			owner = f[1]
		}
		lines = append(lines, line)
	}
	return lines
}

func quoteFew(lines []string) string {
	const few = 3
	var s []string
	for i, l := range lines {
		if i == few {
			s = append(s, fmt.Sprintf("and %d more", len(lines)-few))
			break
		}
		s = append(s, fmt.Sprintf("%q", l))
	}
	return strings.Join(s, ", ")
}
