package preserve

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// linkNames maps names of interfaces to their permanent addresses.
type linkNames struct {
	mac, name map[string]string
}

func (n *linkNames) macOf(name string) string { return n.mac[name] }
func (n *linkNames) nameOf(mac string) string { return n.name[mac] }

// put records a pair; what was said before about either is forgotten.
func (n *linkNames) put(name, mac string) {
	if old, ok := n.name[mac]; ok {
		delete(n.mac, old)
	}
	if old, ok := n.mac[name]; ok {
		delete(n.name, old)
	}
	n.mac[name], n.name[mac] = mac, name
}

// readNames collects what a system's files say about names, then what is
// known of the machine itself: that is how the names are.
func readNames(files netFiles, live []Link) (*linkNames, error) {
	n := &linkNames{map[string]string{}, map[string]string{}}
	for _, file := range files.glob("etc/udev/rules.d", "") {
		if err := n.readRules(file, files.data(file)); err != nil {
			return nil, err
		}
	}
	for _, file := range files.glob("etc/systemd/network", "") {
		if strings.HasSuffix(file, ".link") {
			if err := n.readLink(file, files.data(file)); err != nil {
				return nil, err
			}
		}
	}
	for _, l := range live {
		if mac, err := parseMAC(l.MAC); err == nil && validIfname(l.Name) {
			n.put(l.Name, mac)
		}
	}
	return n, nil
}

// udevTerm is one comparison or assignment of a udev rule.
var udevTerm = regexp.MustCompile(`^\s*([A-Z]+(?:\{[a-z_]+\})?)\s*(==|!=|:=|\+=|=)\s*"([^"]*)"\s*(?:,|$)`)

// udevKeys are those of rules that only give a name. Anything else (RUN,
// PROGRAM, IMPORT) could start a program in the new system.
var udevKeys = []string{"SUBSYSTEM", "ACTION", "DRIVERS", "ATTR{address}", "ATTR{type}", "ATTR{dev_id}", "KERNEL", "KERNELS", "NAME", "SUBSYSTEMS", "DRIVER"}

func (n *linkNames) readRules(file string, data []byte) error {
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var mac, name string
		for line != "" {
			m := udevTerm.FindStringSubmatch(line)
			if m == nil || !slices.Contains(udevKeys, m[1]) {
				return refusal(absolute(file), "leave only rules that give names in the file", "%.80q is no rule that gives a name", line)
			}
			switch {
			case m[1] == "ATTR{address}" && m[2] == "==":
				mac = m[3]
			case m[1] == "NAME" && m[2] != "==" && m[2] != "!=":
				name = m[3]
			}
			line = line[len(m[0]):]
		}
		if address, err := parseMAC(mac); err == nil && validIfname(name) {
			n.put(name, address)
		}
	}
	return nil
}

// readLink reads a .link file that gives a name to an address.
func (n *linkNames) readLink(file string, data []byte) error {
	k, err := parseUnit(data)
	if err != nil {
		return refusal(absolute(file), "", "%v", err)
	}
	name, _ := k.get("Link", "Name")
	for _, key := range []string{"MACAddress", "PermanentMACAddress"} {
		v, _ := k.get("Match", key)
		if mac, err := parseMAC(strings.TrimSpace(v)); err == nil && validIfname(name) {
			n.put(name, mac)
		}
	}
	return nil
}

// parseUnit reads a file of systemd's syntax, which has ; comments too.
func parseUnit(data []byte) (*keyfile, error) {
	var kept []string
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(strings.TrimLeft(line, " \t"), ";") {
			kept = append(kept, line)
		}
	}
	return parseKeyfile([]byte(strings.Join(kept, "")))
}

// kernelName tells whether a name is one that the kernel gives with
// net.ifnames=0. A .link file cannot keep it: udev cannot rename eth0 to eth1
// while another interface has that name.
var kernelName = regexp.MustCompile(`^eth[0-9]+$`)

// linkFile is the .link file that keeps a name. A VLAN, bridge or bond has
// the address of its card, and newer versions of udev (naming scheme v240)
// would rename it too: there only a card's permanent address counts, which
// systemd knows since 245.
func linkFile(name, mac string, major int) (file string, content []byte) {
	match := "MACAddress=" + mac
	if major == 0 || major >= 9 {
		match = "PermanentMACAddress=" + mac + "\nType=ether"
	}
	return "etc/systemd/network/10-abupdate-" + name + ".link",
		[]byte(fmt.Sprintf("# Written by abupdate: the interface keeps its name.\n[Match]\n%s\n\n[Link]\nName=%s\n", match, name))
}

// physical returns the names and addresses of the Ethernet interfaces that
// profiles name, sorted.
func (s *netState) physical() []Link {
	seen := map[string]string{}
	for _, p := range s.profiles {
		if p.Kind == linkEthernet && p.Name != "" && !p.Absent {
			if seen[p.Name] == "" {
				seen[p.Name] = p.MAC
			}
		}
	}
	var list []Link
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		list = append(list, Link{Name: name, MAC: seen[name]})
	}
	return list
}
