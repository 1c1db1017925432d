package preserve

import (
	"regexp"
	"slices"
	"strings"
)

// Every key of an ifcfg file that is translated is in one of these classes.
// A key in none of them is one that neither network-scripts nor NetworkManager
// read (a note of the customer's): dropped, and said.
var (
	// understoodKeys are part of the effective state.
	understoodKeys = regexp.MustCompile(`^(DEVICE|NAME|UUID|TYPE|DEVICETYPE|ONBOOT|NM_CONTROLLED|BOOTPROTO|` +
		`(IPADDR|PREFIX|NETMASK|GATEWAY)[0-9]*|DNS[0-9]+|DOMAIN|SEARCH|PEERDNS|PEERROUTES|DEFROUTE|GATEWAYDEV|METRIC|SRCADDR|` +
		`MTU|IPV6_MTU|HWADDR|MACADDR|BRIDGE_MACADDR|ZONE|ETHTOOL_OPTS|IPV4_FAILURE_FATAL|IPV6_FAILURE_FATAL|` +
		`IPV[46]_ROUTE_(METRIC|TABLE)|IPV[46]_DNS_PRIORITY|IPV6INIT|IPV6ADDR|IPV6ADDR_SECONDARIES|IPV6_AUTOCONF|IPV6_DEFAULTGW|` +
		`IPV6_DEFAULTDEV|IPV6_DEFROUTE|IPV6_DISABLED|IPV6_PEERDNS|IPV6_PEERROUTES|IPV6_PRIVACY|IPV6_PRIVACY_PREFER_PUBLIC_IP|` +
		`IPV6_ADDR_GEN_MODE|IPV6_TOKEN|IPV6_DOMAIN|DHCPV6C|DHCPV6_DUID|DHCPv6_DUID|DHCPV6_IAID|DHCP_IAID|DHCP_CLIENT_ID|DHCP_HOSTNAME|` +
		`DHCP_FQDN|DHCPV6_HOSTNAME|DHCP_SEND_HOSTNAME|DHCPV6_SEND_HOSTNAME|RES_OPTIONS|MASTER|MASTER_UUID|SLAVE|BONDING_OPTS|` +
		`BONDING_MASTER|BRIDGE|BRIDGE_UUID|BRIDGING_OPTS|STP|DELAY|PRIO|AGEING|VLAN|VID|VLAN_ID|PHYSDEV|GVRP|MVRP|REORDER_HDR|` +
		`VLAN_FLAGS|VLAN_INGRESS_PRIORITY_MAP|VLAN_EGRESS_PRIORITY_MAP|ROUTING_RULE6?_[0-9]+|NOROUTESET|IPV6FORWARDING|IPV6TO4INIT)$`)
	// idleKeys change how an interface comes up, not what it is then.
	idleKeys = regexp.MustCompile(`^((BROADCAST|NETWORK|ARPCHECK|ARPUPDATE)[0-9]*|USERCTL|HOTPLUG|ARPING_WAIT|LINKDELAY|DEVTIMEOUT|` +
		`PERSISTENT_DHCLIENT|DHCPRELEASE|NOZEROCONF|LAST_CONNECT|PROXY_METHOD|BROWSER_ONLY|PAC_URL|PAC_SCRIPT|LLDP|LLMNR|MDNS|` +
		`AUTOCONNECT_(PRIORITY|RETRIES|SLAVES)|ACD_TIMEOUT|IPV4_DHCP_TIMEOUT|IPV6_DHCP_TIMEOUT|IPV6_RA_TIMEOUT|GATEWAY_PING_TIMEOUT|` +
		`HOSTNAME_.*|NO_DHCP_HOSTNAME|PEERNTP|IPV6_ROUTER|IPV6_CONTROL_RADVD|IPV6_SET_SYSCTLS|CONNECTION_METERED|ISALIAS|PARENTDEVICE|` +
		`NM_USER_.*|ETHTOOL_DELAY|DHCP_HOSTNAME_FLAGS|DHCPV6_HOSTNAME_FLAGS|RESOLV_MODS|NO_ALIASROUTING|ONPARENT|USERS|MUD_URL|STABLE_ID|` +
		`IPV6_RES_OPTIONS|DHCLIENTARGS|DHCPV6C_OPTIONS|IPV6_FORCE_ACCEPT_RA|WINDOW|SCOPE|EXTRA_ROUTE_OPTS|ARP|MULTI_CONNECT)$`)
	// effectiveKeys would be lost.
	effectiveKeys = []string{
		"DHCP_VENDOR_CLASS_IDENTIFIER", "DHCP_REJECT_SERVERS", "GENERATE_MAC_ADDRESS_MASK", "NETTYPE", "PORTNAME", "OPTIONS",
		"MAC_ADDRESS_RANDOMIZATION", "DHCLIENT_IGNORE_GATEWAY", "PROMISC", "ALLMULTI", "OWNER",
	}
)

// checkKeys refuses keys of a profile whose effect would be lost in another
// form, and notes what is dropped.
func (p *netProfile) checkKeys(note noteFunc) error {
	var unknown, idle []string
	for _, v := range p.vars {
		switch {
		case v.Value == "" || understoodKeys.MatchString(v.Name):
		case v.Name == "STABLE_ID" && p.V6.AddrGen != "eui64" && p.V6.AddrGen != "":
			return refusal(absolute(p.File), "", "STABLE_ID is not supported")
		case idleKeys.MatchString(v.Name):
			idle = append(idle, v.Name)
		case slices.Contains(effectiveKeys, v.Name):
			return refusal(absolute(p.File), "remove the key, or carry the network over by hand", "%s is not supported", v.Name)
		default:
			unknown = append(unknown, v.Name)
		}
	}
	if len(idle) > 0 {
		note(Dropped, absolute(p.File), "%s: of no matter to NetworkManager", strings.Join(idle, ", "))
	}
	if len(unknown) > 0 {
		note(Dropped, absolute(p.File), "%s: neither network-scripts nor NetworkManager know it", strings.Join(unknown, ", "))
	}
	return nil
}
