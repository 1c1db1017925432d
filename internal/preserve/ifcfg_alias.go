package preserve

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rangeFile are names of files that make many aliases at once.
var rangeFile = regexp.MustCompile(`-range[^:]*$`)

// sortedAliases returns the alias files of an interface, in the order of the
// shell's glob.
func (r *netReader) sortedAliases(parent string) []*ifcfg {
	var list []*ifcfg
	for _, name := range slices.Sorted(maps.Keys(r.parsed)) {
		if strings.HasPrefix(name, parent+":") {
			list = append(list, r.parsed[name])
		}
	}
	return list
}

// readRanges reads ifcfg-NAME-rangeN: IPADDR_START to IPADDR_END within one
// /24, as ifup-aliases does. NetworkManager knows nothing of them.
func (c *ifcfg) readRanges(parent string) error {
	for _, name := range slices.Sorted(maps.Keys(c.r.parsed)) {
		if !strings.HasPrefix(name, parent+"-range") || !rangeFile.MatchString(name) {
			continue
		}
		a := c.r.parsed[name]
		if !c.scripts {
			return a.refuse("range files have no effect under NetworkManager: write IPADDR1, IPADDR2, … instead")
		}
		if on := a.v["ONPARENT"]; on == "no" || on == "NO" {
			continue
		}
		first, err1 := parseAddr(ipv4, a.v["IPADDR_START"])
		last, err2 := parseAddr(ipv4, a.v["IPADDR_END"])
		if err1 != nil || err2 != nil {
			return a.refuse("IPADDR_START and IPADDR_END are needed")
		}
		if netip.PrefixFrom(first, 24).Masked() != netip.PrefixFrom(last, 24).Masked() || last.Less(first) {
			return a.refuse("IPADDR_START=%s and IPADDR_END=%s are no range within one /24", first, last)
		}
		if _, err := strconv.ParseUint(a.v["CLONENUM_START"], 10, 16); err != nil {
			return a.refuse("CLONENUM_START=%q is no number", a.v["CLONENUM_START"])
		}
		for ip := first; !last.Less(ip); ip = ip.Next() {
			if err := c.addAlias(a, ip.String()); err != nil {
				return err
			}
		}
	}
	return nil
}
