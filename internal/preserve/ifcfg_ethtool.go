package preserve

import (
	"slices"
	"strconv"
	"strings"
)

// ethtoolFeatures are the -K words that NetworkManager's [ethtool] section
// has under the same name. A profile with another one would be ignored whole.
var ethtoolFeatures = []string{
	"gro", "gso", "highdma", "hw-tc-offload", "lro", "ntuple", "rx", "rx-all", "rx-fcs", "rx-gro-hw", "rx-vlan-filter", "rxhash", "rxvlan",
	"sg", "tso", "tx", "tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-sctp", "tx-gre-segmentation",
	"tx-gso-partial", "tx-nocache-copy", "tx-scatter-gather", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp_tnl-segmentation", "txvlan",
}

// readEthtool reads ETHTOOL_OPTS: settings of "ethtool -s", or commands
// beginning with an option, separated by semicolons. They tune a link; what
// has no counterpart is dropped with a warning, never refused.
func (c *ifcfg) readEthtool() error {
	c.p.Ethtool = map[string]string{}
	for _, command := range strings.Split(c.get("ETHTOOL_OPTS"), ";") {
		w := strings.Fields(command)
		if len(w) == 0 {
			continue
		}
		option := "-s"
		if strings.HasPrefix(w[0], "-") {
			option, w = w[0], w[1:]
			if len(w) > 0 && (w[0] == c.p.Name || w[0] == c.get("DEVICE")) {
				w = w[1:]
			}
		}
		if !c.ethtoolCommand(option, w) {
			c.r.note(Warning, absolute(c.file), "ETHTOOL_OPTS: %q has no counterpart in NetworkManager", strings.TrimSpace(command))
		}
	}
	return nil
}

func (c *ifcfg) ethtoolCommand(option string, w []string) bool {
	if len(w)%2 != 0 {
		return false
	}
	switch option {
	case "-s", "--change":
		return c.ethtoolLink(w)
	case "-K", "--features", "--offload":
		for i := 0; i < len(w); i += 2 {
			if !slices.Contains(ethtoolFeatures, w[i]) || w[i+1] != "on" && w[i+1] != "off" {
				return false
			}
			c.p.Ethtool["feature-"+w[i]] = strconv.FormatBool(w[i+1] == "on")
		}
		return true
	case "-G", "--set-ring":
		for i := 0; i < len(w); i += 2 {
			if _, err := strconv.ParseUint(w[i+1], 10, 32); err != nil || !slices.Contains([]string{"rx", "tx", "rx-mini", "rx-jumbo"}, w[i]) {
				return false
			}
			c.p.Ethtool["ring-"+w[i]] = w[i+1]
		}
		return true
	}
	return false
}

// wakeFlags are ethtool's letters as NMSettingWiredWakeOnLan.
var wakeFlags = map[rune]uint32{'p': 2, 'u': 4, 'm': 8, 'b': 16, 'a': 32, 'g': 64, 'd': 0}

func (c *ifcfg) ethtoolLink(w []string) bool {
	known := true
	e := c.p.Ethtool
	for i := 0; i < len(w); i += 2 {
		switch key, value := w[i], w[i+1]; {
		case key == "autoneg" && (value == "on" || value == "off"):
			e["auto-negotiate"] = strconv.FormatBool(value == "on")
		case key == "duplex" && (value == "full" || value == "half"):
			e["duplex"] = value
		case key == "speed" && nameLen("_"+value) == len(value)+1:
			if _, err := strconv.ParseUint(value, 10, 32); err != nil {
				known = false
				break
			}
			e["speed"] = value
		case key == "wol":
			var flags uint32
			for _, r := range value {
				f, ok := wakeFlags[r]
				known = known && ok
				flags |= f
			}
			if value == "d" {
				e["wake-on-lan"] = "0"
			} else if flags != 0 {
				e["wake-on-lan"] = strconv.FormatUint(uint64(flags), 10)
			}
		default:
			known = false
		}
	}
	// NetworkManager takes speed and duplex only together.
	if (e["speed"] == "") != (e["duplex"] == "") {
		delete(e, "speed")
		delete(e, "duplex")
		known = false
	}
	return known
}
