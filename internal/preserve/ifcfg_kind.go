package preserve

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Types that are not carried, and what they are called.
var refusedTypes = map[string]string{
	"gre": "a GRE tunnel", "ipip": "an IPIP tunnel", "ipip6": "an IPIP6 tunnel", "external": "a tunnel", "sit": "a SIT tunnel",
	"ipsec": "an IPsec connection", "infiniband": "InfiniBand", "wireless": "a wireless interface", "xdsl": "a PPPoE connection",
	"modem": "a modem", "isdn": "ISDN", "team": "a team", "teamport": "a team port", "tap": "a TAP device", "tun": "a TUN device",
	"cipe": "CIPE", "ctc": "a CTC device", "token ring": "token ring", "ovsbridge": "an Open vSwitch bridge",
	"ovsport": "an Open vSwitch port", "ovsintport": "an Open vSwitch port", "ovsbond": "an Open vSwitch bond",
	"ovstunnel": "an Open vSwitch tunnel", "ovspatchport": "an Open vSwitch port", "ovs": "Open vSwitch", "dummy": "a dummy device",
}

// refusedKeys are keys that make an interface something else.
var refusedKeys = map[string]string{
	"TEAM_CONFIG": "team", "TEAM_MASTER": "teamport", "TEAM_MASTER_UUID": "teamport", "OVS_BRIDGE": "ovs", "OVS_PORT": "ovs",
	"OVS_PORT_UUID": "ovs", "ESSID": "wireless", "IPV6TUNNELIPV4": "sit", "PKEY_ID": "infiniband", "MY_INNER_IPADDR": "external",
}

// unsupportedKeys change what the interface does in a way that is not carried.
var unsupportedKeys = regexp.MustCompile(`^(KEY_MGMT|IEEE_8021X_.*|DCB.*|SRIOV_.*|QDISC[0-9]*|FILTER[0-9]+|SUBCHANNELS|BRIDGE_VLANS|BRIDGE_PORT_VLANS|BRIDGE_PORT_.*|ROUTE_TABLE|SECONDARY_UUIDS|MATCH_.*|VRF|VRF_UUID)$`)

// refusedNames are devices that the kernel or network-scripts make something
// else of, whatever TYPE says.
var refusedNames = regexp.MustCompile(`^(ppp|ippp|sit|tun|tap|gre|ib|wlan|wlp|wlx|wlo|team|dummy|ovs|cipcb|ipip|vxlan|wg|macvlan|macvtap)[0-9]`)

// readKind reads what the interface is, and refuses what is not known.
func (c *ifcfg) readKind() error {
	typ := strings.ToLower(c.get("TYPE"))
	device := c.get("DEVICE")
	for _, k := range slices.Sorted(maps.Keys(refusedKeys)) {
		if c.v[k] != "" {
			return c.refuseType(refusedKeys[k])
		}
	}
	if d := strings.ToLower(c.get("DEVICETYPE")); d != "" && d != "eth" && d != "ethernet" {
		return c.refuseType(d)
	}
	for _, v := range c.vars {
		if unsupportedKeys.MatchString(v.Name) && v.Value != "" {
			return c.refuse("%s is not supported", v.Name)
		}
	}
	bonding := c.get("BONDING_OPTS") != "" || c.yes("BONDING_MASTER", false) || c.r.masters[device] && device != ""
	switch {
	case typ == "bond", bonding && (typ == "" || typ == "ethernet"):
		c.p.Kind = linkBond
		return c.readBond()
	case typ == "vlan" || c.yes("VLAN", false) && (typ == "" || typ == "ethernet"):
		c.p.Kind = linkVLAN
		return c.readVLAN()
	case typ == "bridge":
		c.p.Kind = linkBridge
		return c.readBridge()
	case typ != "" && typ != "ethernet":
		return c.refuseType(typ)
	case refusedNames.MatchString(device):
		return c.refuse("DEVICE=%s is no Ethernet interface: not supported", device)
	}
	c.p.Kind = linkEthernet
	return nil
}

func (c *ifcfg) refuseType(typ string) error {
	if name, ok := refusedTypes[typ]; ok {
		return c.refuse("it configures %s, which is not carried over", name)
	}
	return c.refuse("TYPE=%q is not known", typ)
}

// Options of the bonding driver that NetworkManager has too
// (nm-setting-bond.c).
var bondOptions = []string{
	"mode", "miimon", "updelay", "downdelay", "arp_interval", "arp_ip_target", "arp_validate", "primary", "primary_reselect",
	"fail_over_mac", "use_carrier", "ad_select", "xmit_hash_policy", "resend_igmp", "active_slave", "ad_actor_sys_prio",
	"ad_actor_system", "ad_user_port_key", "all_slaves_active", "arp_all_targets", "lp_interval", "min_links",
	"packets_per_slave", "tlb_dynamic_lb", "lacp_rate", "num_grat_arp", "num_unsol_na", "peer_notif_delay",
}

// bondNames are the names of numbers (Linux, Documentation/networking/bonding.rst).
var bondNames = map[string][]string{
	"mode":             {"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"},
	"xmit_hash_policy": {"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"},
	"lacp_rate":        {"slow", "fast"}, "fail_over_mac": {"none", "active", "follow"},
	"primary_reselect": {"always", "better", "failure"}, "ad_select": {"stable", "bandwidth", "count"},
	"arp_validate": {"none", "active", "backup", "all", "filter", "filter_active", "filter_backup"}, "arp_all_targets": {"any", "all"},
}

// canonicalBond makes one spelling of a bond's options. It is used by both
// readers: it says what the driver understands, not what a file says.
func canonicalBond(options map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for k, v := range options {
		if !slices.Contains(bondOptions, k) {
			return nil, fmt.Errorf("bond option %q is not supported", k)
		}
		if !plainWord(strings.NewReplacer(",", "", ":", "", "+", "").Replace(v)) {
			return nil, fmt.Errorf("bond option %s=%q is not sane", k, v)
		}
		if names, ok := bondNames[k]; ok {
			n, err := strconv.Atoi(v)
			if err == nil && n >= 0 && n < len(names) {
				v = names[n]
			} else if !slices.Contains(names, v) {
				return nil, fmt.Errorf("bond option %s=%q is not known", k, v)
			}
		}
		out[k] = v
	}
	if out["mode"] == "" {
		out["mode"] = "balance-rr"
	}
	on := func(k string) bool { return out[k] != "" && out[k] != "0" }
	if on("miimon") && on("arp_interval") {
		// Which of them is in force depends on the order of writes to sysfs.
		return nil, errors.New("miimon and arp_interval exclude each other")
	}
	if out["miimon"] == "100" || out["miimon"] == "0" {
		// 100 is what NetworkManager sets when neither is given. No monitoring
		// at all, the kernel's own default, cannot be told to it.
		delete(out, "miimon")
	}
	if out["arp_interval"] == "0" {
		delete(out, "arp_interval")
	}
	return out, nil
}

func (c *ifcfg) readBond() error {
	options := map[string]string{}
	for _, w := range strings.Fields(c.get("BONDING_OPTS")) {
		k, v, ok := strings.Cut(w, "=")
		if !ok || v == "" {
			return c.refuse("BONDING_OPTS: %q has no value", w)
		}
		if k == "arp_ip_target" {
			v = strings.NewReplacer("+", "", "-", "", `"`, "", "'", "").Replace(v)
			if old := options[k]; old != "" {
				v = old + "," + v
			}
		}
		options[k] = v
	}
	if len(options) == 0 && c.r.files.has("etc/modprobe.d", "bond") {
		return c.refuse("BONDING_OPTS is empty and /etc/modprobe.d sets options of the bonding driver: write BONDING_OPTS")
	}
	if options["miimon"] == "" && options["arp_interval"] == "" {
		c.r.note(Warning, absolute(c.file), "neither miimon nor arp_interval is set: NetworkManager checks the ports' carrier every 100 ms")
	}
	canonical, err := canonicalBond(options)
	if err != nil {
		return c.refuse("BONDING_OPTS: %v", err)
	}
	c.p.Options = canonical
	return nil
}

var (
	dotVLAN  = regexp.MustCompile(`^(.+)\.([0-9]{1,4})$`)
	nameVLAN = regexp.MustCompile(`^vlan0*([0-9]{1,4})$`)
)

func (c *ifcfg) readVLAN() error {
	device, parent := c.get("DEVICE"), c.get("PHYSDEV")
	id := c.get("VID")
	if !c.scripts {
		id = c.get("VLAN_ID")
	} else if !c.yes("VLAN", false) {
		return c.refuse("TYPE=Vlan without VLAN=yes: network-scripts make no VLAN of it")
	}
	if m := dotVLAN.FindStringSubmatch(device); m != nil {
		if strings.Contains(m[1], ".") && (!c.scripts && parent == "") {
			return c.refuse("a VLAN on a VLAN needs PHYSDEV")
		}
		if c.scripts && id == "" {
			parent, id = m[1], m[2]
		} else if !c.scripts {
			parent, id = firstOf(parent, m[1]), m[2]
		}
	} else if m := nameVLAN.FindStringSubmatch(device); m != nil && (id == "" || !c.scripts) {
		id = m[1]
	}
	if c.r.byUUID[parent] != nil {
		parent = c.r.byUUID[parent].v["DEVICE"]
	}
	n, err := strconv.Atoi(id)
	if err != nil || n < 0 || n > 4094 {
		return c.refuse("which VLAN? DEVICE=%q VLAN_ID=%q", device, id)
	}
	if !validIfname(parent) {
		return c.refuse("on which interface? PHYSDEV=%q", parent)
	}
	c.p.VLAN = vlanSpec{Parent: parent, ID: n, Flags: c.vlanFlags()}
	return c.readPriorityMaps()
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (c *ifcfg) vlanFlags() uint32 {
	flags := uint32(vlanReorder)
	if c.yes("GVRP", false) {
		flags |= vlanGVRP
	}
	if c.scripts {
		if !c.yes("REORDER_HDR", true) {
			flags &^= vlanReorder
		}
		return flags
	}
	if c.yes("MVRP", false) {
		flags |= vlanMVRP
	}
	for _, f := range strings.FieldsFunc(c.get("VLAN_FLAGS"), func(r rune) bool { return r == ',' || r == ' ' }) {
		switch f {
		case "GVRP":
			if c.get("GVRP") == "" {
				flags |= vlanGVRP
			}
		case "LOOSE_BINDING":
			flags |= vlanLoose
		case "NO_REORDER_HDR":
			flags &^= vlanReorder
		}
	}
	return flags
}

var priorityMap = regexp.MustCompile(`^[0-9]{1,10}:[0-9]{1,10}$`)

func (c *ifcfg) readPriorityMaps() error {
	for key, to := range map[string]*[]string{"VLAN_INGRESS_PRIORITY_MAP": &c.p.VLAN.Ingress, "VLAN_EGRESS_PRIORITY_MAP": &c.p.VLAN.Egress} {
		if c.scripts && key == "VLAN_INGRESS_PRIORITY_MAP" {
			continue // ifup knows only the other one
		}
		for _, w := range strings.FieldsFunc(c.get(key), func(r rune) bool { return r == ',' || r == ' ' }) {
			if !priorityMap.MatchString(w) {
				return c.refuse("%s: %q is no mapping", key, w)
			}
			*to = append(*to, w)
		}
		slices.Sort(*to)
	}
	return nil
}
