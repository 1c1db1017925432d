package preserve

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Directories of NetworkManager's profiles.
const (
	keyfileDir       = "etc/NetworkManager/system-connections"
	vendorKeyfileDir = "usr/lib/NetworkManager/system-connections"
)

// pluginTypes are profiles of NetworkManager's add-on packages, whose
// presence in the new system is not known.
var pluginTypes = map[string]string{
	"wifi": "a wireless connection", "802-11-wireless": "a wireless connection", "wifi-p2p": "a wireless connection",
	"team": "a team", "ovs-bridge": "Open vSwitch", "ovs-port": "Open vSwitch", "ovs-interface": "Open vSwitch",
	"infiniband": "InfiniBand", "pppoe": "a PPPoE connection", "gsm": "a mobile connection", "cdma": "a mobile connection",
	"bluetooth": "a Bluetooth connection", "adsl": "an ADSL connection", "vpn": "a VPN", "wpan": "a WPAN connection",
	"802-11-olpc-mesh": "a mesh", "wimax": "WiMAX", "6lowpan": "6LoWPAN", "ip-tunnel": "a tunnel",
}

// reading is one keyfile being read.
type reading struct {
	r    *netReader
	file string
	k    *keyfile
	used map[string]bool // "group.key" that have been understood
	p    *netProfile
}

func (g *reading) refuse(format string, args ...any) error {
	return refusal(absolute(g.file), "change the profile, or carry the network over by hand", format, args...)
}

// readKeyfiles reads NetworkManager's profiles.
func (r *netReader) readKeyfiles() error {
	for _, file := range keyfiles(r.files) {
		f := r.files[file]
		if f.mode&0o077 != 0 && path.Dir(file) == keyfileDir || f.uid != 0 {
			r.note(Dropped, absolute(file), "NetworkManager ignores it: others than root may read it")
			continue
		}
		k, err := parseKeyfile(f.content)
		g := &reading{r: r, file: file, k: k, used: map[string]bool{}}
		if err != nil {
			return g.refuse("%v", err)
		}
		if err := g.profile(); err != nil {
			return err
		}
		r.profiles = append(r.profiles, g.p)
	}
	return nil
}

// keyfiles lists the profiles; one of /etc hides one of /usr/lib by its name.
func keyfiles(files netFiles) []string {
	var list []string
	for _, dir := range []string{keyfileDir, vendorKeyfileDir} {
		for _, file := range files.glob(dir, "") {
			base := path.Base(file)
			hidden := dir == vendorKeyfileDir && files.exists(path.Join(keyfileDir, base))
			if !hidden && !backupFile(base) && files[file].readable {
				list = append(list, file)
			}
		}
	}
	return list
}

// str takes a value out of the file; several groups are names of one.
func (g *reading) str(groups, key string) string {
	for _, group := range strings.Fields(groups) {
		if v, ok := g.k.get(group, key); ok {
			g.used[group+"."+key] = true
			return v
		}
	}
	return ""
}

func (g *reading) bool(groups, key string, fallback bool) bool {
	return nmBool(g.str(groups, key), fallback)
}

func (g *reading) int(groups, key string, fallback int64) (int64, error) {
	s := g.str(groups, key)
	if s == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return 0, g.refuse("[%s] %s=%q is no number", groups, key, s)
	}
	return n, nil
}

const ethernetGroups = "ethernet 802-3-ethernet"

func (g *reading) profile() error {
	p := &netProfile{File: g.file, ID: g.str("connection", "id"), UUID: g.str("connection", "uuid"), Ethtool: map[string]string{}}
	g.p = p
	p.Name = g.str("connection", "interface-name")
	if p.Name != "" && !validIfname(p.Name) {
		return g.refuse("interface-name=%q is no interface name", p.Name)
	}
	p.Auto = g.bool("connection", "autoconnect", true)
	p.Zone = g.str("connection", "zone")
	p.Controller = cmp.Or(g.str("connection", "controller"), g.str("connection", "master"))
	g.str("connection", "slave-type")
	g.str("connection", "port-type")
	g.str("connection", "timestamp")
	typ := g.str("connection", "type")
	steps := []func() error{g.ethernet}
	switch typ {
	case "ethernet", "802-3-ethernet":
		p.Kind = linkEthernet
	case "bond":
		p.Kind = linkBond
		steps = append(steps, g.bond)
	case "bridge":
		p.Kind = linkBridge
		steps = append(steps, g.bridge)
	case "vlan":
		p.Kind = linkVLAN
		steps = append(steps, g.vlan)
	default:
		if name, ok := pluginTypes[typ]; ok {
			return g.refuse("it configures %s, which is not carried over", name)
		}
		p.Kind, p.Type = linkOther, typ
		if typ == "" || !plainWord(typ) {
			return g.refuse("type=%q is not known", typ)
		}
	}
	steps = append(steps, g.port, func() error { return g.ip(ipv4) }, func() error { return g.ip(ipv6) })
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	g.extra()
	return nil
}

// extra keeps what was not understood, by its hash: it may be a secret.
func (g *reading) extra() {
	g.p.Extra = map[string]string{}
	for _, group := range g.k.groups {
		if group.name == "ethtool" {
			continue
		}
		for _, e := range group.entries {
			name := group.name + "." + e.key
			if !g.used[name] && e.value != "" && group.name != "user" {
				g.p.Extra[name] = shortHash(e.value)
			}
		}
	}
}

func (g *reading) ethernet() error {
	p := g.p
	if m := g.str(ethernetGroups, "mac-address"); m != "" {
		mac, err := parseMAC(m)
		if err != nil {
			return g.refuse("mac-address: %v", err)
		}
		p.MAC = mac
	}
	if m := g.str(ethernetGroups, "cloned-mac-address"); m != "" {
		p.CloneMAC = m // also preserve, permanent, random, stable
		if mac, err := parseMAC(m); err == nil {
			p.CloneMAC = mac
		}
	}
	mtu, err := g.int(ethernetGroups, "mtu", 0)
	if err != nil {
		return err
	}
	p.MTU = int(mtu)
	for _, key := range []string{"auto-negotiate", "speed", "duplex", "wake-on-lan"} {
		if v := g.str(ethernetGroups, key); v != "" {
			p.Ethtool[key] = v
		}
	}
	for _, group := range g.k.groups {
		if group.name == "ethtool" {
			for _, e := range group.entries {
				p.Ethtool[e.key] = keyUnescape(e.value)
			}
		}
	}
	if p.Kind != linkEthernet {
		return nil
	}
	if p.MAC == "" {
		p.MAC = g.r.names.macOf(p.Name)
	}
	if p.Name == "" {
		p.Name = g.r.names.nameOf(p.MAC)
	}
	return nil
}

func (g *reading) bond() error {
	options := map[string]string{}
	for _, group := range g.k.groups {
		if group.name == "bond" {
			for _, e := range group.entries {
				g.used["bond."+e.key] = true
				if e.key != "interface-name" {
					options[e.key] = keyUnescape(e.value)
				}
			}
		}
	}
	canonical, err := canonicalBond(options)
	if err != nil {
		return g.refuse("%v", err)
	}
	g.p.Options = canonical
	return nil
}

func (g *reading) bridge() error {
	options := map[string]string{"stp": strconv.FormatBool(g.bool("bridge", "stp", true))}
	g.str("bridge", "interface-name")
	for _, o := range bridgeOptions[1:] {
		if v := g.str("bridge", o.keyfile); v != "" {
			options[o.keyfile] = v
		}
	}
	if m := g.str("bridge", "mac-address"); m != "" && g.p.CloneMAC == "" {
		mac, err := parseMAC(m)
		if err != nil {
			return g.refuse("mac-address: %v", err)
		}
		g.p.CloneMAC = mac
	}
	g.p.Options = canonicalBridge(options)
	return nil
}

func (g *reading) port() error {
	options := map[string]string{}
	for key, name := range map[string]string{"priority": "priority", "path-cost": "path_cost", "hairpin-mode": "hairpin_mode"} {
		if v := g.str("bridge-port", key); v != "" {
			options[name] = v
		}
	}
	if len(options) > 0 {
		g.p.Port = canonicalPort(options)
	}
	return nil
}

func (g *reading) vlan() error {
	id, err := g.int("vlan", "id", -1)
	if err != nil {
		return err
	}
	flags, err := g.int("vlan", "flags", vlanReorder)
	if err != nil {
		return err
	}
	g.str("vlan", "interface-name")
	v := vlanSpec{Parent: g.str("vlan", "parent"), ID: int(id), Flags: uint32(flags)}
	if v.Parent == "" && g.p.MAC != "" {
		v.Parent = g.p.MAC
	}
	g.p.MAC = ""
	v.Ingress = keyList(g.str("vlan", "ingress-priority-map"))
	v.Egress = keyList(g.str("vlan", "egress-priority-map"))
	slices.Sort(v.Ingress)
	slices.Sort(v.Egress)
	if g.p.Name == "" && v.Parent != "" {
		g.p.Name = v.Parent + "." + strconv.Itoa(v.ID)
	}
	g.p.VLAN = v
	return nil
}
