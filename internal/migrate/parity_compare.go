package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ParityResult is the outcome of one comparison.
type ParityResult struct {
	// Name is the same from round to round: "parity: gateway 192.0.2.1".
	Name string
	OK   bool
	// Required: when it fails, the old system comes back.
	Required bool
	// Detail says what is there, or what is not.
	Detail string
}

// Compare judges now, the new system, against p, the old one.
func (p *Parity) Compare(now *Parity) []ParityResult {
	c := comparison{before: p, now: now}
	c.hostname()
	for _, l := range p.Links {
		c.link(l)
	}
	for _, g := range p.Gateways {
		c.gateway(g)
	}
	for _, s := range p.NameServers {
		c.add(true, "name server "+s.String(), slices.Contains(now.NameServers, s),
			fmt.Sprintf("asked are %s", enumerate(now.NameServers)))
	}
	for _, port := range p.SSHPorts {
		c.add(true, "ssh on port "+strconv.Itoa(port), slices.Contains(now.listening, port), "nothing listens there")
	}
	for _, u := range p.Users {
		c.user(u)
	}
	return c.results
}

type comparison struct {
	before, now *Parity
	results     []ParityResult
}

// add appends a result; why is told when it fails.
func (c *comparison) add(required bool, name string, ok bool, why string) {
	r := ParityResult{Name: "parity: " + name, OK: ok, Required: required, Detail: "as before"}
	if !ok {
		r.Detail = "missing"
		if why != "" {
			r.Detail += "; " + why
		}
	}
	c.results = append(c.results, r)
}

func (c *comparison) hostname() {
	was, is := c.before.Hostname, c.now.Hostname
	// A machine without a name calls itself one of these, as its release has it.
	unnamed := func(s string) bool { return s == "" || s == "(none)" || strings.HasPrefix(s, "localhost") }
	c.add(true, "host name "+was, was == is || unnamed(was) && unnamed(is), fmt.Sprintf("it is %q", is))
}

// link looks for the addresses of one interface of the old system. Those of
// interfaces that are software all through (a bridge for containers, say) or
// had no cable are told and decide nothing.
func (c *comparison) link(was ParityLink) {
	required := c.before.hardware(was.MAC) && was.Carrier
	there := c.now.addresses(was)
	for _, family := range []string{"IPv4", "IPv6"} {
		if slices.ContainsFunc(was.Addresses, func(a ParityAddress) bool { return a.Dynamic && familyName(a.Prefix.Addr()) == family }) {
			c.add(required, fmt.Sprintf("an %s address on %s", family, was.MAC),
				slices.ContainsFunc(there, func(a netip.Prefix) bool { return familyName(a.Addr()) == family }),
				"it had one by "+map[string]string{"IPv4": "DHCP", "IPv6": "DHCP or router advertisement"}[family])
		}
	}
	for _, a := range was.Addresses {
		if !a.Dynamic {
			c.add(required, fmt.Sprintf("address %v on %s", a.Prefix, was.MAC), slices.Contains(there, a.Prefix),
				fmt.Sprintf("the interface has %s", enumerate(there)))
		}
	}
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func (c *comparison) gateway(was ParityGateway) {
	required := slices.ContainsFunc(c.before.Links, func(l ParityLink) bool { return l.MAC == was.MAC && l.Carrier }) && c.before.hardware(was.MAC)
	same := func(is ParityGateway) bool { return is.Via == was.Via && is.MAC == was.MAC }
	name := fmt.Sprintf("gateway %v on %s", was.Via, was.MAC)
	if was.Dynamic {
		same = func(is ParityGateway) bool { return is.MAC == was.MAC && is.Via.Is4() == was.Via.Is4() }
		name = fmt.Sprintf("a gateway for %s on %s", familyName(was.Via), was.MAC)
	}
	var there []string
	for _, g := range c.now.Gateways {
		there = append(there, fmt.Sprintf("%v on %s", g.Via, g.MAC))
	}
	c.add(required, name, slices.ContainsFunc(c.now.Gateways, same), "there is "+orNone(strings.Join(there, ", ")))
}

func (c *comparison) user(was ParityUser) {
	i := slices.IndexFunc(c.now.Users, func(u ParityUser) bool { return u.Name == was.Name })
	name := "user " + was.Name
	switch {
	case i < 0:
		c.add(true, name, false, "there is no such account")
	case c.now.Users[i].UID != was.UID:
		c.add(true, name, false, fmt.Sprintf("the UID is %d and was %d", c.now.Users[i].UID, was.UID))
	case c.now.Users[i].Hash != was.Hash:
		c.add(true, name, false, "the password is another one")
	default:
		c.add(true, name, true, "")
	}
	if c.now.oldCrypt && was.Hash != "" && !slices.Contains(oldFormats, was.Format) {
		c.add(false, "password of "+was.Name, false, fmt.Sprintf("it was hashed by $%s$, which this system cannot read: it has to be set anew", was.Format))
	}
}

// oldFormats are those that the crypt(3) of glibc reads: DES, MD5, SHA-256 and
// SHA-512. That of libxcrypt (EL8 and later, Debian 11 and later) reads more.
var oldFormats = []string{"", "1", "5", "6"}

// hardware reports whether a MAC is that of a card. Bonds, VLANs and bridges
// over a card have its MAC too.
func (p *Parity) hardware(mac string) bool {
	return slices.ContainsFunc(p.Links, func(l ParityLink) bool { return l.Card && l.MAC == mac })
}

// addresses returns what the interfaces with the MAC of l have, or, for one
// without hardware, that of its name: its MAC may be made up at each boot.
func (p *Parity) addresses(l ParityLink) []netip.Prefix {
	var found []netip.Prefix
	for _, other := range p.Links {
		if other.MAC == l.MAC || !l.Card && other.Name == l.Name {
			for _, a := range other.Addresses {
				found = append(found, a.Prefix)
			}
		}
	}
	return found
}

func enumerate[T fmt.Stringer](items []T) string {
	var words []string
	for _, i := range items {
		words = append(words, i.String())
	}
	return orNone(strings.Join(words, ", "))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Excused names the built-in health checks that the old system would have
// failed: they are no fault of the new one.
func (p *Parity) Excused() []string {
	var names []string
	if !slices.ContainsFunc(p.Links, func(l ParityLink) bool { return len(l.Addresses) > 0 }) {
		names = append(names, "address")
	}
	if len(p.Gateways) == 0 {
		names = append(names, "default-route")
	}
	return names
}
