package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// attackKeys are all keys whose values go anywhere.
var attackKeys = []string{
	"DEVICE", "NAME", "UUID", "TYPE", "DEVICETYPE", "ONBOOT", "BOOTPROTO", "IPADDR", "IPADDR1", "PREFIX", "NETMASK", "GATEWAY", "GATEWAY0",
	"DNS1", "DNS2", "DOMAIN", "SEARCH", "PEERDNS", "DEFROUTE", "GATEWAYDEV", "METRIC", "SRCADDR", "MTU", "HWADDR", "MACADDR", "ZONE",
	"ETHTOOL_OPTS", "IPV6INIT", "IPV6ADDR", "IPV6ADDR_SECONDARIES", "IPV6_DEFAULTGW", "IPV6_DEFAULTDEV", "IPV6_PRIVACY", "IPV6_TOKEN",
	"IPV6_ADDR_GEN_MODE", "IPV6_MTU", "IPV6_DOMAIN", "DHCP_HOSTNAME", "DHCP_FQDN", "DHCP_CLIENT_ID", "DHCPV6_DUID", "DHCP_IAID", "DHCPV6_HOSTNAME",
	"RES_OPTIONS", "MASTER", "MASTER_UUID", "SLAVE", "BRIDGE", "BRIDGE_UUID", "BONDING_OPTS", "BRIDGING_OPTS", "STP", "DELAY", "VLAN", "VID",
	"VLAN_ID", "PHYSDEV", "VLAN_FLAGS", "VLAN_EGRESS_PRIORITY_MAP", "ROUTING_RULE_1", "IPV4_ROUTE_METRIC", "IPV4_ROUTE_TABLE", "IPV4_DNS_PRIORITY",
	"NM_CONTROLLED", "LINKDELAY", "NO_SUCH_KEY", "PATH", "LD_PRELOAD", "BASH_ENV", "IFS",
}

// attackValues are written in single quotes, so that a parser must accept
// them as text, and bare, so that it must not.
var attackValues = []string{
	"$(reboot)", "`reboot`", ";reboot", "a;$(reboot)", "$(reboot>/dev/sda)", "&&reboot", "|reboot", "$IFS", "${x:-$(reboot)}", "a\nreboot",
	"x\n[connection]\npermissions=user:evil", "x\nautoconnect=false", "../../../etc/shadow", "/etc/passwd", "eth0/../../x", "-rf", "a b;c",
	"%n%n", "\x1b[2J", "é", "x=y", "[x]", "#x", "a\\nb", "a;b,c", "*", "?", "~root", "!!", "{a,b}", "\"", "'", "\\", " ", "",
	strings.Repeat("A", 5000),
}

// inertLine is where a value of the customer's may stand in a keyfile: in the
// profile's name for users.
var inertLine = regexp.MustCompile(`^id=[ -~]*$`)

// TestAttack_IfcfgMetacharacters puts every hostile value into every key, in
// and without quotes. The plan is refused, or nothing of the value is in any
// file but as the inert name of a profile; a file that is carried as it is
// has the value in quotes, as bash reads it.
func TestAttack_IfcfgMetacharacters(t *testing.T) {
	t.Parallel()
	for _, key := range attackKeys {
		for _, value := range attackValues {
			for _, quoted := range []bool{true, false} {
				attackIfcfg(t, key, value, quoted)
			}
		}
	}
}

func attackIfcfg(t *testing.T, key, value string, quoted bool) {
	t.Helper()
	text := value
	if quoted {
		text = shellQuote(value)
	}
	ifcfg := "DEVICE=eth0\nBOOTPROTO=none\nIPADDR=192.0.2.10\nPREFIX=24\nGATEWAY=192.0.2.1\n" + key + "=" + text + "\n"
	old, after := newMemTree(), newMemTree()
	for _, name := range netSystems["el7-scripts"] {
		putSystemFile(t, old, name)
	}
	for _, name := range netSystems["el9"] {
		putSystemFile(t, after, name)
	}
	if err := old.put(fixtureNode(t, ifcfgDir+"/ifcfg-eth0", ifcfg)); err != nil {
		t.Fatal(err)
	}
	old.seal()
	after.seal()
	plan, err := runHandler(network{}, old, after)
	what := fmt.Sprintf("%s=%.40q", key, text)
	if err != nil {
		var r *Refusal
		if !errors.As(err, &r) || r.Reason == "" {
			t.Errorf("%s: failed without a reason: %v", what, err)
		}
		if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: the refusal would act on a terminal: %q", what, err)
		}
		return
	}
	for _, n := range plan.Notes {
		if strings.ContainsAny(n.Subject+n.Detail, "\n\x1b") {
			t.Errorf("%s: a note would act on a terminal: %q", what, n)
		}
	}
	for _, op := range plan.Ops {
		if strings.Contains(op.Path, "..") || !strings.HasPrefix(op.Path, "etc/") {
			t.Errorf("%s: /%s is written", what, op.Path)
		}
		for line := range strings.Lines(string(op.Data)) {
			line = strings.TrimSuffix(line, "\n")
			if strings.ContainsAny(line, "$`|&<>") && !inertLine.MatchString(line) || strings.Contains(line, "reboot") && !inertLine.MatchString(line) {
				t.Errorf("%s: /%s has the line %q", what, op.Path, line)
			}
			if strings.HasPrefix(line, "permissions=") || line == "autoconnect=false" && key != "ONBOOT" {
				t.Errorf("%s: /%s has the injected line %q", what, op.Path, line)
			}
		}
	}
}

// TestAttack_RouteFiles: lines are words for ip(8), in neither system are
// they expanded.
func TestAttack_RouteFiles(t *testing.T) {
	for _, file := range []string{"route-eth0", "route6-eth0", "rule-eth0", "rule6-eth0"} {
		for _, line := range []string{
			"$(reboot)", "10.0.0.0/8 via `reboot`", "10.0.0.0/8 via 192.0.2.1; reboot", "10.0.0.0/8 via 192.0.2.1 dev eth0;reboot", "* via 192.0.2.1",
			"from $(reboot) table 5", "from all table 5 && reboot", "10.0.0.0/8 via 192.0.2.1 table $(reboot)", "ADDRESS0=$(reboot)\nNETMASK0=255.0.0.0",
			"ADDRESS0=10.0.0.0\nNETMASK0=255.0.0.0\nGATEWAY0=`reboot`", "ADDRESS0=10.0.0.0\nPATH=/evil", "-batch /etc/evil", "add 10.0.0.0/8 via 192.0.2.1 # $(x)",
		} {
			f := parseNetFixture(t, "x\nold el7-scripts\nnew el7-scripts\nlive eth0 52:54:00:00:00:01\n-- old/"+ifcfgDir+"/ifcfg-eth0 --\nDEVICE=eth0\nIPADDR=192.0.2.9\nPREFIX=24\n-- old/"+ifcfgDir+"/"+file+" --\n"+line+"\n")
			if _, err := runHandlerOn(Host{Links: f.live}, network{}, f.old, f.new); !errors.Is(err, ErrPreserve) {
				t.Errorf("%s: %q: %v, want a refusal", file, line, err)
			}
		}
	}
}

// TestAttack_NetworkLinks: links among the network's files that lead
// elsewhere are refused or left alone, and what they lead to is in no message.
func TestAttack_NetworkLinks(t *testing.T) {
	const secret = "root:$6$secret:19000::::::"
	base := "x\nold el7-scripts\nnew el9\nlive eth0 52:54:00:00:00:01\n-- old/etc/shadow 0000 --\n" + secret + "\n-- old/" + ifcfgDir + "/ifcfg-eth0 --\nDEVICE=eth0\nIPADDR=192.0.2.9\nPREFIX=24\n"
	for _, c := range []struct {
		link    string
		refused bool
	}{
		{ifcfgDir + "/ifcfg-eth1 -> /etc/shadow", true},
		{ifcfgDir + "/route-eth0 -> ../../shadow", true},
		{ifcfgDir + "/rule-eth0 -> ../../../../../../etc/shadow", true},
		{ifcfgDir + "/ifcfg-eth1 -> ifcfg-eth1", true},
		{"etc/resolv.conf -> /etc/shadow", false},
		{"etc/sysconfig/network -> /etc/shadow", false},
		{"etc/iproute2/rt_tables -> /etc/shadow", false},
		{"etc/udev/rules.d/70-persistent-net.rules -> /etc/shadow", false},
		{"var/lib/dhclient/dhclient-eth0.leases -> /etc/shadow", false},
		{"var/lib/NetworkManager/secret_key -> /etc/shadow", false},
	} {
		f := parseNetFixture(t, base+"-- old/"+c.link+" --\n")
		plan, err := runHandlerOn(Host{Links: f.live}, network{}, f.old, f.new)
		if c.refused != (err != nil) {
			t.Errorf("%s: %v", c.link, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the refusal tells what the link leads to: %v", c.link, err)
		}
		if plan == nil {
			continue
		}
		for _, op := range plan.Ops {
			if strings.Contains(string(op.Data), "secret") {
				t.Errorf("%s: /%s has what the link leads to", c.link, op.Path)
			}
		}
	}
}

// TestAttack_NetworkSpecialFiles: what is no file is not opened.
func TestAttack_NetworkSpecialFiles(t *testing.T) {
	f := parseNetFixture(t, "x\nold el7-scripts\nnew el9\n-- old/"+ifcfgDir+"/ifcfg-eth0 --\nDEVICE=eth0\n")
	old := f.old.(*memTree)
	for _, name := range []string{ifcfgDir + "/ifcfg-fifo", ifcfgDir + "/route-eth0", "etc/resolv.conf", keyfileDir + "/dev.nmconnection"} {
		if err := old.put(&memNode{entry: Entry{Path: name, Kind: KindOther, Mode: 0o644 | fs.ModeSetuid}}); err != nil {
			t.Fatal(err)
		}
	}
	old.seal()
	if _, err := runHandler(network{}, f.old, f.new); err != nil {
		t.Error(err)
	}
}

// TestAttack_KeyfileInjection: a keyfile cannot bring another file's name or
// mode along, nor be read as something else than NetworkManager reads it.
func TestAttack_KeyfileInjection(t *testing.T) {
	f := parseNetFixture(t, "x\nold el9\nnew el9\nlive eth0 52:54:00:00:00:01\n-- old/"+keyfileDir+"/x.nmconnection 4600 --\n[connection]\nid=$(reboot)\\n[connection]\ntype=ethernet\ninterface-name=../../x\n")
	if _, err := runHandlerOn(Host{Links: f.live}, network{}, f.old, f.new); !errors.Is(err, ErrPreserve) {
		t.Errorf("interface-name=../../x: %v", err)
	}
	f = parseNetFixture(t, "x\nold el9\nnew el9\nlive eth0 52:54:00:00:00:01\n-- old/"+keyfileDir+"/x.nmconnection 4600 --\n[connection]\nid=$(reboot)\\n[connection]\ntype=ethernet\ninterface-name=eth0\n")
	plan, err := runHandlerOn(Host{Links: f.live}, network{}, f.old, f.new)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range plan.Ops {
		if op.Path == keyfileDir+"/x.nmconnection" && op.Mode != 0o600 {
			t.Errorf("mode %v", op.Mode)
		}
	}
}

// TestAttack_NetworkSize: files and directories beyond all reason.
func TestAttack_NetworkSize(t *testing.T) {
	huge := strings.Repeat("A=b\n", maxShellFile)
	f := parseNetFixture(t, "x\nold el7-scripts\nnew el9\n-- old/"+ifcfgDir+"/ifcfg-eth0 --\n"+huge)
	if _, err := runHandler(network{}, f.old, f.new); !errors.Is(err, ErrPreserve) {
		t.Errorf("a huge file: %v", err)
	}
	f = parseNetFixture(t, "x\nold el7-scripts\nnew el9\n-- old/"+ifcfgDir+"/ifcfg-eth0 --\nDEVICE=eth0\n")
	old := f.old.(*memTree)
	for i := range maxNetFiles + 1 {
		if err := old.put(fixtureNode(t, fmt.Sprintf("%s/ifcfg-eth0:%d", ifcfgDir, i), "")); err != nil {
			t.Fatal(err)
		}
	}
	old.seal()
	if _, err := runHandler(network{}, f.old, f.new); !errors.Is(err, ErrPreserve) {
		t.Errorf("too many files: %v", err)
	}
}
