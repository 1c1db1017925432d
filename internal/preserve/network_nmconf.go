package preserve

import (
	"path"
	"slices"
	"strings"
)

// nmConf is what matters of NetworkManager.conf and its conf.d directories.
type nmConf struct {
	plugins       string // "" when not said
	dns           string
	rcManager     string
	noAutoDefault string
	unmanaged     string
	// defaults: [connection] sections, which change every profile.
	defaults bool
}

// nmConfDirs in the order in which NetworkManager reads them; a file of /etc
// hides one of the same name of /usr/lib.
const (
	nmMainConf  = "etc/NetworkManager/NetworkManager.conf"
	nmConfDir   = "etc/NetworkManager/conf.d"
	nmVendorDir = "usr/lib/NetworkManager/conf.d"
	// nmOwnConf is what this package writes.
	nmOwnConf = nmConfDir + "/90-abupdate.conf"
)

func readNMConf(files netFiles) (nmConf, error) {
	var c nmConf
	var order []string
	for _, name := range files.glob(nmVendorDir, "") {
		if !files.exists(path.Join(nmConfDir, path.Base(name))) {
			order = append(order, name)
		}
	}
	order = append(order, nmMainConf)
	order = append(order, files.glob(nmConfDir, "")...)
	for _, name := range order {
		if name != nmMainConf && !strings.HasSuffix(name, ".conf") {
			continue
		}
		k, err := parseKeyfile(files.data(name))
		if err != nil {
			return c, refusal(absolute(name), "", "%v", err)
		}
		c.merge(k)
	}
	return c, nil
}

func (c *nmConf) merge(k *keyfile) {
	for _, g := range k.groups {
		if strings.HasPrefix(g.name, "connection") && len(g.entries) > 0 {
			c.defaults = true
		}
	}
	for _, s := range []struct {
		group, key string
		to         *string
	}{
		{"main", "plugins", &c.plugins},
		{"main", "dns", &c.dns},
		{"main", "rc-manager", &c.rcManager},
		{"main", "no-auto-default", &c.noAutoDefault},
		{"keyfile", "unmanaged-devices", &c.unmanaged},
	} {
		if v, ok := k.get(s.group, s.key); ok {
			*s.to = v
		}
		if v, ok := k.get(s.group, s.key+"+"); ok {
			*s.to = strings.TrimPrefix(*s.to+","+v, ",")
		}
	}
}

// plugin tells whether a settings plugin is on: all that are installed, when
// the configuration names none.
func (c nmConf) plugin(name string) bool {
	return c.plugins == "" || slices.Contains(strings.FieldsFunc(c.plugins, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }), name)
}

// leavesResolvConf tells whether NetworkManager leaves /etc/resolv.conf alone.
func (c nmConf) leavesResolvConf() bool { return c.dns == "none" || c.rcManager == "unmanaged" }

// idleDHCP tells whether an interface without a profile is brought up with
// DHCP.
func (c nmConf) idleDHCP() bool { return !strings.Contains(c.noAutoDefault, "*") }

// own is the configuration file that makes the new system's NetworkManager
// behave as the old system did; nil when nothing needs to be said.
func (c nmConf) own() []byte {
	k := &keyfile{}
	if c.dns != "" {
		k.set("main", "dns", c.dns)
	}
	if c.rcManager != "" {
		k.set("main", "rc-manager", c.rcManager)
	}
	if c.noAutoDefault != "" {
		k.set("main", "no-auto-default", c.noAutoDefault)
	}
	if c.unmanaged != "" {
		k.set("keyfile", "unmanaged-devices", c.unmanaged)
	}
	if len(k.groups) == 0 {
		return nil
	}
	return append([]byte("# Written by abupdate: the network as it was before.\n"), k.encode()...)
}
