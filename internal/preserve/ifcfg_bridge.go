package preserve

import (
	"fmt"
	"strconv"
	"strings"
)

// bridgeOption is one option of a bridge in the three places that name it.
type bridgeOption struct {
	sysfs    string // BRIDGING_OPTS
	keyfile  string // NetworkManager's property
	standard string // the kernel's value when nothing is said
	centi    bool   // sysfs counts hundredths of a second, NetworkManager seconds
	stp      bool   // without effect when STP is off
}

// bridgeOptions are those that are carried. The keyfile's defaults are the
// kernel's, but for stp.
var bridgeOptions = []bridgeOption{
	{sysfs: "stp_state", keyfile: "stp", standard: "false"},
	{sysfs: "priority", keyfile: "priority", standard: "32768", stp: true},
	{sysfs: "forward_delay", keyfile: "forward-delay", standard: "15", centi: true, stp: true},
	{sysfs: "hello_time", keyfile: "hello-time", standard: "2", centi: true, stp: true},
	{sysfs: "max_age", keyfile: "max-age", standard: "20", centi: true, stp: true},
	{sysfs: "ageing_time", keyfile: "ageing-time", standard: "300", centi: true},
	{sysfs: "multicast_snooping", keyfile: "multicast-snooping", standard: "true"},
	{sysfs: "group_fwd_mask", keyfile: "group-forward-mask", standard: "0"},
	{sysfs: "vlan_filtering", keyfile: "vlan-filtering", standard: "false"},
}

var portOptions = map[string]string{"priority": "32", "path_cost": "100", "hairpin_mode": "false"}

// canonicalBridge leaves out what is as if it were not said. Both readers
// use it, with the keyfile's names.
func canonicalBridge(options map[string]string) map[string]string {
	out := map[string]string{}
	stp := options["stp"] == "true"
	for _, o := range bridgeOptions {
		if v, ok := options[o.keyfile]; ok && v != o.standard && (stp || !o.stp) {
			out[o.keyfile] = v
		}
	}
	return out
}

func canonicalPort(options map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range options {
		if portOptions[k] != v {
			out[k] = v
		}
	}
	return out
}

func (c *ifcfg) readBridge() error {
	options := map[string]string{"stp": strconv.FormatBool(c.yes("STP", false) || strings.EqualFold(c.get("STP"), "on"))}
	for key, property := range map[string]string{"DELAY": "forward-delay", "PRIO": "priority", "AGEING": "ageing-time"} {
		if v := c.get(key); v != "" && (key == "DELAY" || c.scripts) {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil || n != float64(uint32(n)) {
				return c.refuse("%s=%q is no number", key, v)
			}
			options[property] = strconv.FormatUint(uint64(n), 10)
		}
	}
	for _, w := range strings.Fields(c.get("BRIDGING_OPTS")) {
		k, v, _ := strings.Cut(w, "=")
		if err := c.bridgeOption(options, k, v); err != nil {
			return c.refuse("BRIDGING_OPTS: %v", err)
		}
	}
	c.p.Options = canonicalBridge(options)
	return nil
}

func (c *ifcfg) bridgeOption(options map[string]string, key, value string) error {
	for _, o := range bridgeOptions {
		if o.sysfs != key || key == "stp_state" && !c.scripts {
			continue
		}
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return fmt.Errorf("%s=%q is no number", key, value)
		}
		if o.centi && c.scripts {
			// network-scripts write the value to sysfs as it is.
			if n%100 != 0 {
				return fmt.Errorf("%s=%s is no whole number of seconds: NetworkManager knows no others", key, value)
			}
			n /= 100
		}
		options[o.keyfile] = strconv.FormatUint(n, 10)
		if o.standard == "true" || o.standard == "false" {
			options[o.keyfile] = strconv.FormatBool(n != 0)
		}
		return nil
	}
	return fmt.Errorf("%q is not supported", key)
}

// readPort reads which bond or bridge the interface is a port of.
func (c *ifcfg) readPort() error {
	p := c.p
	bond, bridge := c.get("MASTER"), c.get("BRIDGE")
	if c.scripts && !isTrue(c.get("SLAVE")) {
		bond = ""
	}
	if !c.scripts {
		var err error
		if bond, err = c.byUUID("MASTER_UUID", bond); err != nil {
			return err
		}
		if bridge, err = c.byUUID("BRIDGE_UUID", bridge); err != nil {
			return err
		}
	}
	switch {
	case bond != "":
		p.Controller = bond
	case bridge != "":
		p.Controller = bridge
		if err := c.readBridgePort(); err != nil {
			return err
		}
	}
	if p.Controller != "" && !validIfname(p.Controller) {
		return c.refuse("%q is no interface name", p.Controller)
	}
	return nil
}

// byUUID resolves NetworkManager's references to other files.
func (c *ifcfg) byUUID(key, name string) (string, error) {
	u := c.get(key)
	if u == "" {
		u = name
	}
	other := c.r.byUUID[u]
	switch {
	case other != nil && other.v["DEVICE"] != "":
		return other.v["DEVICE"], nil
	case c.get(key) != "":
		return "", c.refuse("%s=%q: no file has this UUID", key, u)
	}
	return name, nil
}

func (c *ifcfg) readBridgePort() error {
	options := map[string]string{}
	for _, w := range strings.Fields(c.get("BRIDGING_OPTS")) {
		k, v, _ := strings.Cut(w, "=")
		if _, ok := portOptions[k]; !ok {
			return c.refuse("BRIDGING_OPTS: %q is not supported for a port", k)
		}
		if k == "hairpin_mode" {
			options[k] = strconv.FormatBool(v == "1" || isTrue(v))
			continue
		}
		n, err := strconv.ParseUint(v, 0, 16)
		if err != nil {
			return c.refuse("BRIDGING_OPTS: %s=%q is no number", k, v)
		}
		options[k] = strconv.FormatUint(n, 10)
	}
	c.p.Port = canonicalPort(options)
	return nil
}
