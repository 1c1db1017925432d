package preserve

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// writeKeyfile makes NetworkManager's profile of one interface. An Ethernet
// interface is bound by its permanent address when that is known, so that the
// profile finds its card whatever the card is called.
func writeKeyfile(p *netProfile, uuids map[string]string) []byte {
	k := &keyfile{}
	k.set("connection", "id", printableID(p))
	k.set("connection", "uuid", uuids[p.File])
	k.set("connection", "type", p.Kind.String())
	if p.MAC == "" {
		k.set("connection", "interface-name", p.Name)
	}
	if !p.Auto {
		k.set("connection", "autoconnect", "false")
	}
	if p.Zone != "" {
		k.set("connection", "zone", p.Zone)
	}
	if p.Controller != "" {
		k.set("connection", "master", p.Controller)
		k.set("connection", "slave-type", portType(p))
	}
	writeEthernet(k, p)
	switch p.Kind {
	case linkBond:
		for _, o := range slices.Sorted(maps.Keys(p.Options)) {
			k.set("bond", o, p.Options[o])
		}
	case linkBridge:
		writeBridge(k, p)
	case linkVLAN:
		writeVLAN(k, p, uuids)
	case linkEthernet, linkOther:
	}
	writePort(k, p)
	if p.Controller == "" {
		writeIP(k, "ipv4", ipv4, &p.V4)
		writeIP(k, "ipv6", ipv6, &p.V6)
	}
	return k.encode()
}

// printableID is the name for users, without what a terminal could stumble on.
func printableID(p *netProfile) string {
	if p.ID != "" && printable(p.ID) {
		return p.ID
	}
	return p.label()
}

// portType tells the two kinds of controllers apart: only ports of bridges
// have port options, an empty map when there are none.
func portType(p *netProfile) string {
	if p.Port != nil {
		return "bridge"
	}
	return "bond"
}

func writeEthernet(k *keyfile, p *netProfile) {
	if p.MAC != "" {
		k.set("ethernet", "mac-address", strings.ToUpper(p.MAC))
	}
	if p.CloneMAC != "" {
		k.set("ethernet", "cloned-mac-address", strings.ToUpper(p.CloneMAC))
	}
	if p.MTU != 0 {
		k.set("ethernet", "mtu", strconv.Itoa(p.MTU))
	}
	for _, key := range slices.Sorted(maps.Keys(p.Ethtool)) {
		if strings.HasPrefix(key, "feature-") || strings.HasPrefix(key, "ring-") {
			k.set("ethtool", key, p.Ethtool[key])
		} else {
			k.set("ethernet", key, p.Ethtool[key])
		}
	}
}

func writeBridge(k *keyfile, p *netProfile) {
	// NetworkManager's default is true, the kernel's false.
	if p.Options["stp"] != "true" {
		k.set("bridge", "stp", "false")
	}
	for _, o := range slices.Sorted(maps.Keys(p.Options)) {
		k.set("bridge", o, p.Options[o])
	}
}

func writePort(k *keyfile, p *netProfile) {
	for key, name := range map[string]string{"hairpin-mode": "hairpin_mode", "path-cost": "path_cost", "priority": "priority"} {
		if v := p.Port[name]; v != "" {
			k.set("bridge-port", key, v)
		}
	}
	for _, g := range k.groups {
		if g.name == "bridge-port" {
			slices.SortFunc(g.entries, func(a, b keyEntry) int { return strings.Compare(a.key, b.key) })
		}
	}
}

func writeVLAN(k *keyfile, p *netProfile, uuids map[string]string) {
	k.set("vlan", "id", strconv.Itoa(p.VLAN.ID))
	parent := p.VLAN.Parent
	if u := uuids["name "+parent]; u != "" {
		parent = u // the profile finds the card even if its name has changed
	}
	k.set("vlan", "parent", parent)
	k.set("vlan", "flags", strconv.FormatUint(uint64(p.VLAN.Flags), 10))
	if len(p.VLAN.Ingress) > 0 {
		k.set("vlan", "ingress-priority-map", strings.Join(p.VLAN.Ingress, ","))
	}
	if len(p.VLAN.Egress) > 0 {
		k.set("vlan", "egress-priority-map", strings.Join(p.VLAN.Egress, ","))
	}
}

func writeIP(k *keyfile, group string, f family, c *ipSpec) {
	k.set(group, "method", methodWord(c.Method))
	if c.Method == methodOff || c.Method == methodIgnore {
		return
	}
	for i, a := range c.Addrs {
		k.set(group, "address"+strconv.Itoa(i+1), a.String())
	}
	if g := c.defaultVia(); g.IsValid() {
		k.set(group, "gateway", g.String())
	}
	flag := func(key string, on bool, value string) {
		if on {
			k.set(group, key, value)
		}
	}
	flag("never-default", c.NeverDefault && c.dynamic(), "true")
	flag("route-metric", c.Metric >= 0, strconv.FormatInt(c.Metric, 10))
	flag("route-table", c.Table != 0, strconv.FormatUint(uint64(c.Table), 10))
	flag("ignore-auto-routes", c.IgnoreRoutes && c.dynamic(), "true")
	flag("ignore-auto-dns", c.IgnoreDNS && c.dynamic(), "true")
	flag("may-fail", c.MustSucceed, "false")
	for i, r := range c.Routes {
		writeRoute(k, group, "route"+strconv.Itoa(i+1), r)
	}
	for i, r := range c.Rules {
		k.set(group, "routing-rule"+strconv.Itoa(i+1), ruleText(f, r))
	}
	flag("dns", len(c.DNS) > 0, joinAddrs(c.DNS, ";")+";")
	flag("dns-search", len(c.Search) > 0, strings.Join(c.Search, ";")+";")
	flag("dns-options", len(c.DNSOptions) > 0, strings.Join(c.DNSOptions, ";")+";")
	flag("dns-priority", c.DNSPriority != 0, strconv.Itoa(c.DNSPriority))
	if c.dynamic() {
		writeDynamic(k, group, c)
	}
	if f == ipv6 {
		k.set(group, "addr-gen-mode", firstOf(c.AddrGen, "eui64"))
		flag("ip6-privacy", c.Privacy >= 0, strconv.Itoa(c.Privacy))
		flag("token", c.Token != "", c.Token)
	}
}

func methodWord(m ipMethod) string {
	switch m {
	case methodOff:
		return "disabled"
	case methodIgnore:
		return "ignore"
	case methodStatic:
		return "manual"
	case methodAuto:
		return "auto"
	case methodDHCP:
		return "dhcp"
	case methodLinkLocal:
		return "link-local"
	}
	return ""
}

func writeDynamic(k *keyfile, group string, c *ipSpec) {
	for _, s := range []struct{ key, value string }{
		{"dhcp-client-id", c.ClientID}, {"dhcp-duid", c.DUID}, {"dhcp-iaid", c.IAID}, {"dhcp-hostname", c.Hostname}, {"dhcp-fqdn", c.FQDN},
	} {
		if s.value != "" {
			k.set(group, s.key, s.value)
		}
	}
	if c.NoHostname {
		k.set(group, "dhcp-send-hostname", "false")
	}
}

func writeRoute(k *keyfile, group, key string, r netRoute) {
	value := r.Dst.String()
	metric := r.Attrs["metric"]
	switch {
	case r.Via.IsValid():
		value += "," + r.Via.String()
	case metric != "":
		value += ","
	}
	if metric != "" {
		value += "," + metric
	}
	k.set(group, key, value)
	var options []string
	for _, a := range slices.Sorted(maps.Keys(r.Attrs)) {
		v := r.Attrs[a]
		switch {
		case a == "metric":
			continue
		case v == "":
			v = "true" // onlink, lock-mtu, …
		}
		options = append(options, a+"="+v)
	}
	if len(options) > 0 {
		k.set(group, key+"_options", strings.Join(options, ","))
	}
}

// ruleText writes a rule as nm_ip_routing_rule_from_string reads it.
func ruleText(f family, r netRule) string {
	attrs := maps.Clone(r.Attrs)
	s := "priority " + strconv.FormatInt(r.Priority, 10)
	if _, ok := attrs["not"]; ok {
		s = "not " + s
		delete(attrs, "not")
	}
	if attrs["from"] == "" && attrs["to"] == "" {
		// It tells the family, where the group does not.
		attrs["from"] = map[family]string{ipv4: "0.0.0.0/0", ipv6: "::/0"}[f]
	}
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		s += " " + key + " " + attrs[key]
	}
	return s
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// profileUUIDs gives every profile its UUID: its own, for addresses made from
// it (stable-privacy) stay the same; or one of its name and MAC, so that the
// same configuration always makes the same files. They are found by the file that
// a profile was read from, and for VLANs by "name NAME".
func profileUUIDs(profiles []*netProfile) map[string]string {
	uuids, taken := map[string]string{}, map[string]bool{}
	for _, p := range profiles {
		u := strings.ToLower(p.UUID)
		if !uuidForm.MatchString(u) || taken[u] {
			u = makeUUID(p.Name + "\n" + p.MAC)
			if taken[u] {
				u = makeUUID(p.Name + "\n" + p.MAC + "\n" + p.File)
			}
		}
		taken[u] = true
		uuids[p.File] = u
		if uuids["name "+p.Name] == "" || p.Auto {
			uuids["name "+p.Name] = u
		}
	}
	return uuids
}

// makeUUID is a version 8 UUID (RFC 9562, 5.8) of a text.
func makeUUID(text string) string {
	h := sha256.Sum256([]byte("abupdate network profile\n" + text))
	h[6] = h[6]&0x0f | 0x80
	h[8] = h[8]&0x3f | 0x80
	x := hex.EncodeToString(h[:16])
	return fmt.Sprintf("%s-%s-%s-%s-%s", x[:8], x[8:12], x[12:16], x[16:20], x[20:])
}

func shortHash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:8])
}

// splitFamilies returns the addresses of each family, and whether all of the
// first come before all of the second.
func splitFamilies(list []netip.Addr) (v4, v6 []netip.Addr, blocks int) {
	for i, a := range list {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
		if i == 0 || list[i-1].Is4() != a.Is4() {
			blocks++
		}
	}
	return v4, v6, blocks
}
