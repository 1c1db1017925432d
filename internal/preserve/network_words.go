package preserve

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Lines of route- and rule- files are arguments of ip(8), and NetworkManager
// writes rules in the same words. Words that neither NetworkManager's keyfiles
// nor this package know are errors, never guesses.

// routeTables are the names of /etc/iproute2/rt_tables.
type routeTables map[string]uint32

// builtinTables are those of iproute2 itself (lib/rt_names.c).
var builtinTables = routeTables{"default": 253, "main": 254, "local": 255}

func (t routeTables) number(word string) (string, error) {
	if n, err := strconv.ParseUint(word, 0, 32); err == nil {
		return strconv.FormatUint(n, 10), nil
	}
	if n, ok := t[word]; ok {
		return strconv.FormatUint(uint64(n), 10), nil
	}
	return "", fmt.Errorf("table %q is not in /etc/iproute2/rt_tables", word)
}

// parseTables reads rt_tables; lines that iproute2 would skip are skipped.
func parseTables(data []byte) routeTables {
	t := maps.Clone(builtinTables)
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(f[0], 0, 32); err == nil {
			t[f[1]] = uint32(n)
		}
	}
	return t
}

// routeTypes are the route types that keyfiles have too.
var routeTypes = []string{"unicast", "blackhole", "unreachable", "prohibit", "throw", "local"}

// numbers of routes, with the base that iproute2 reads them in.
var routeNumbers = map[string]int{
	"mtu": 10, "window": 10, "cwnd": 10, "initcwnd": 10, "initrwnd": 10,
}

var routeScopes = map[string]string{"global": "0", "universe": "0", "site": "200", "link": "253", "host": "254", "nowhere": "255"}

// errNoEffect is a line that ip(8) refuses: the old system has no such route.
var errNoEffect = errors.New("ip refuses it")

// parseRouteWords reads the arguments of "ip route add". It returns the
// route and the device it names, if it does.
func parseRouteWords(f family, list []string, tables routeTables) (r netRoute, dev string, err error) {
	r.Attrs = map[string]string{}
	var haveDst bool
	next := func(i *int) (string, error) {
		*i++
		if *i == len(list) {
			return "", fmt.Errorf("%q needs a value", list[*i-1])
		}
		return list[*i], nil
	}
	for i := 0; i < len(list); i++ {
		w := list[i]
		switch w {
		case "to", "via", "dev", "oif", "src", "metric", "priority", "preference", "table", "scope", "tos", "dsfield",
			"proto", "protocol", "mtu", "window", "cwnd", "initcwnd", "initrwnd":
		case "onlink":
			r.Attrs["onlink"] = ""
			continue
		default:
			if slices.Contains(routeTypes, w) && !haveDst {
				if w != "unicast" {
					r.Attrs["type"] = w
				}
				continue
			}
			if haveDst {
				return r, "", fmt.Errorf("%q is not supported", w)
			}
			if r.Dst, err = parseDst(f, w); err != nil {
				return r, "", err
			}
			haveDst = true
			continue
		}
		v, err := next(&i)
		if err != nil {
			return r, "", err
		}
		lock := false
		if _, ok := routeNumbers[w]; ok && v == "lock" {
			if v, err = next(&i); err != nil {
				return r, "", err
			}
			lock = true
		}
		if err := r.set(f, w, v, lock, tables, &dev); err != nil {
			return r, "", err
		}
		haveDst = haveDst || w == "to"
	}
	if !haveDst {
		return r, "", errors.New("no destination")
	}
	if t := r.Attrs["type"]; t != "" && t != "local" && r.Via.IsValid() {
		return r, "", fmt.Errorf("a %s route has no gateway", t)
	}
	return r, dev, nil
}

// set stores one attribute of a route in its canonical form.
func (r *netRoute) set(f family, key, value string, lock bool, tables routeTables, dev *string) (err error) {
	switch key {
	case "to":
		r.Dst, err = parseDst(f, value)
		return err
	case "via":
		r.Via, err = parseAddr(f, value)
		r.Via = specified(r.Via)
		return err
	case "dev", "oif":
		if !validIfname(value) && !validAlias(value) {
			return fmt.Errorf("%q is no interface name", value)
		}
		*dev, _, _ = strings.Cut(value, ":")
		return nil
	case "src":
		a, err := parseAddr(f, value)
		r.Attrs["src"] = a.String()
		return err
	case "proto", "protocol":
		return nil // a label, without effect on packets
	case "metric", "priority", "preference":
		n, err := strconv.ParseUint(value, 0, 32)
		if n != 0 {
			r.Attrs["metric"] = strconv.FormatUint(n, 10)
		}
		return err
	case "table":
		n, err := tables.number(value)
		if n != "254" {
			r.Attrs["table"] = n
		}
		return err
	case "scope":
		if n, ok := routeScopes[value]; ok {
			value = n
		} else if _, err := strconv.ParseUint(value, 10, 8); err != nil {
			return err
		}
		if f == ipv4 {
			r.Attrs["scope"] = value
		}
		return nil
	case "tos", "dsfield":
		n, err := strconv.ParseUint(strings.TrimPrefix(value, "0x"), 16, 8)
		if f == ipv4 && n != 0 {
			r.Attrs["tos"] = strconv.FormatUint(n, 10)
		}
		return err
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("%s %q is no number", key, value)
	}
	r.Attrs[key] = strconv.FormatUint(n, 10)
	if lock {
		r.Attrs["lock-"+key] = ""
	}
	return nil
}

// parseDst reads a destination as iproute2 does: "default", an address, a
// prefix, and for IPv4 a prefix with trailing zeros left out (10/8).
func parseDst(f family, s string) (netip.Prefix, error) {
	if s == "default" || s == "any" || s == "all" {
		if f == ipv4 {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
	}
	host, length, slash := strings.Cut(s, "/")
	if f == ipv4 && slash {
		for strings.Count(host, ".") < 3 && len(host) < 16 {
			host += ".0"
		}
	}
	a, err := parseAddr(f, host)
	if err != nil {
		return netip.Prefix{}, err
	}
	bits := f.bits()
	if slash {
		if bits, err = strconv.Atoi(length); err != nil || bits < 0 || bits > f.bits() {
			return netip.Prefix{}, fmt.Errorf("%q is no prefix length", length)
		}
	}
	p := netip.PrefixFrom(a, bits)
	if p.Masked() != p {
		return p, fmt.Errorf("%w: %s has bits beyond its prefix length", errNoEffect, p)
	}
	return p, nil
}

// parseAddr reads an address of one family, without a zone.
func parseAddr(f family, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%q is no address", s)
	}
	if !f.owns(a) {
		return netip.Addr{}, fmt.Errorf("%s is an address of the other family", a)
	}
	return a, nil
}

// specified makes the address that means none (0.0.0.0, ::) none.
func specified(a netip.Addr) netip.Addr {
	if a.IsValid() && a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// validIfname tells whether a string can be, and is sane as, the name of a
// network interface. The kernel allows more (dev_valid_name); such names
// would not survive the files that they have to be written to.
func validIfname(s string) bool {
	if s == "" || len(s) > 15 || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-.@", c) >= 0) {
			return false
		}
	}
	return s[0] != '-' && s[0] != '.'
}

// validAlias tells whether a string is an alias: an interface name, a colon,
// and what ifup-aliases accepts as its number.
func validAlias(s string) bool {
	name, number, ok := strings.Cut(s, ":")
	return ok && validIfname(name) && number != "" && nameLen("_"+number) == len(number)+1
}

// parseMAC reads an Ethernet address in the usual form, and makes it lower
// case.
func parseMAC(s string) (string, error) {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '-' })
	if len(parts) != 6 || len(s) > 17 {
		return "", fmt.Errorf("%q is no Ethernet address", s)
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q is no Ethernet address", s)
		}
		parts[i] = fmt.Sprintf("%02x", n)
	}
	return strings.Join(parts, ":"), nil
}
