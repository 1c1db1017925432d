package preserve

import (
	"fmt"
	"strconv"
	"strings"
)

// ruleWords are the words of "ip rule add" by their canonical name.
var ruleWords = map[string]string{
	"from": "from", "to": "to", "iif": "iif", "dev": "iif", "oif": "oif", "fwmark": "fwmark",
	"tos": "tos", "dsfield": "tos", "priority": "priority", "prio": "priority", "pref": "priority", "order": "priority",
	"preference": "priority", "table": "table", "lookup": "table", "ipproto": "ipproto", "sport": "sport",
	"dport": "dport", "uidrange": "uidrange", "suppress_prefixlength": "suppress_prefixlength", "sup_pl": "suppress_prefixlength",
	"type": "type",
}

// parseRuleWords reads the arguments of "ip rule add".
func parseRuleWords(f family, list []string, tables routeTables) (netRule, error) {
	r := netRule{Priority: -1, Attrs: map[string]string{}}
	for i := 0; i < len(list); i++ {
		w := list[i]
		switch w {
		case "not":
			r.Attrs["not"] = ""
			continue
		case "add":
			continue
		case "blackhole", "unreachable", "prohibit":
			r.Attrs["type"] = w
			continue
		}
		key, ok := ruleWords[w]
		if !ok {
			return r, fmt.Errorf("%q is not supported", w)
		}
		if i++; i == len(list) {
			return r, fmt.Errorf("%q needs a value", w)
		}
		if err := r.set(f, key, list[i], tables); err != nil {
			return r, err
		}
	}
	if r.Attrs["table"] == "" && r.Attrs["type"] == "" {
		r.Attrs["table"] = "254" // ip-rule(8): main when nothing else is said
	}
	return r, nil
}

// set stores one selector or action in its canonical form.
func (r *netRule) set(f family, key, value string, tables routeTables) error {
	switch key {
	case "from", "to":
		p, err := parseDst(f, value)
		if err != nil {
			return err
		}
		if p.Bits() != 0 {
			r.Attrs[key] = p.String()
		}
		return nil
	case "iif", "oif":
		if !validIfname(value) {
			return fmt.Errorf("%q is no interface name", value)
		}
		r.Attrs[key] = value
		return nil
	case "priority":
		n, err := strconv.ParseUint(value, 0, 32)
		r.Priority = int64(n)
		return err
	case "table":
		n, err := tables.number(value)
		r.Attrs[key] = n
		return err
	case "type":
		if value != "blackhole" && value != "unreachable" && value != "prohibit" {
			return fmt.Errorf("rule type %q is not supported", value)
		}
		r.Attrs[key] = value
		return nil
	case "fwmark":
		return r.setMark(value)
	case "tos":
		n, err := strconv.ParseUint(strings.TrimPrefix(value, "0x"), 16, 8)
		if n != 0 {
			r.Attrs[key] = fmt.Sprintf("0x%02x", n)
		}
		return err
	}
	return r.setNumbers(key, value)
}

func (r *netRule) setMark(value string) error {
	mark, mask, masked := strings.Cut(value, "/")
	m, err := strconv.ParseUint(mark, 0, 32)
	if err != nil {
		return err
	}
	k := uint64(0xffffffff)
	if masked {
		if k, err = strconv.ParseUint(mask, 0, 32); err != nil {
			return err
		}
	}
	r.Attrs["fwmark"] = fmt.Sprintf("0x%x/0x%x", m, k)
	return nil
}

// setNumbers stores a number or, for ports and users, a range of numbers.
func (r *netRule) setNumbers(key, value string) error {
	if key == "ipproto" {
		if n, ok := map[string]string{"icmp": "1", "tcp": "6", "udp": "17", "ipv6-icmp": "58", "sctp": "132"}[value]; ok {
			value = n
		}
	}
	low, high, both := strings.Cut(value, "-")
	a, err := strconv.ParseUint(low, 10, 32)
	if err != nil {
		return fmt.Errorf("%s %q is no number", key, value)
	}
	s := strconv.FormatUint(a, 10)
	if both {
		b, err := strconv.ParseUint(high, 10, 32)
		if err != nil || b < a || key == "ipproto" || key == "suppress_prefixlength" {
			return fmt.Errorf("%s %q is no range", key, value)
		}
		if b != a || key == "uidrange" {
			s += "-" + strconv.FormatUint(b, 10)
		}
	}
	r.Attrs[key] = s
	return nil
}
