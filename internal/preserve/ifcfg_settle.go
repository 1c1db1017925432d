package preserve

import (
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// network-scripts bring interfaces up one after another, and each command
// acts on what the earlier ones left. settleScripts works out what is left in
// the end.
func (r *netReader) settleScripts() {
	var list []*netProfile
	for _, p := range r.profiles {
		if p.active() {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, bootOrder)
	settlePriorities(list)
	r.settleDefault(slices.DeleteFunc(list, func(p *netProfile) bool { return !p.scripts }))
}

// bootOrder is the order of /etc/init.d/network: by the letters before the
// first digit, then by the number; VLANs and bridges last.
func bootOrder(a, b *netProfile) int {
	na, nb := strings.TrimPrefix(path.Base(a.File), "ifcfg-"), strings.TrimPrefix(path.Base(b.File), "ifcfg-")
	ia, ib := strings.IndexAny(na+"0", "0123456789"), strings.IndexAny(nb+"0", "0123456789")
	return cmp.Or(
		cmp.Compare(bootGroup(a), bootGroup(b)),
		strings.Compare(na[:ia], nb[:ib]),
		cmp.Compare(leadingNumber(na[ia:]), leadingNumber(nb[ib:])),
		strings.Compare(na, nb),
	)
}

func bootGroup(p *netProfile) int {
	switch {
	case p.Kind == linkBridge:
		return 2
	case p.Kind == linkVLAN:
		return 1
	}
	return 0
}

func leadingNumber(s string) int {
	end := 0
	for end < len(s) && end < 9 && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(s[:end]) // "" is 0
	return n
}

// settleDefault leaves one IPv4 default route per metric: ifup-eth says "ip
// route replace default", so that the last interface wins.
func (r *netReader) settleDefault(list []*netProfile) {
	type winner struct {
		p    *netProfile
		drop func()
	}
	last := map[int64]winner{}
	put := func(metric int64, p *netProfile, drop func()) {
		metric = max(metric, 0)
		if w, ok := last[metric]; ok {
			w.drop()
			if w.p != p {
				r.note(Warning, absolute(w.p.File), "the default route of %s replaces this interface's, as before", p.label())
			}
		}
		last[metric] = winner{p, drop}
	}
	for _, p := range list {
		v4 := &p.V4
		if v4.Method == methodStatic && v4.Gateway.IsValid() {
			put(v4.Metric, p, func() { v4.Gateway, v4.Metric = netip.Addr{}, -1 })
		}
		for _, route := range slices.Clone(v4.Routes) {
			if route.Dst.Bits() != 0 || route.Attrs["table"] != "" || route.Attrs["tos"] != "" {
				continue
			}
			text := route.String()
			metric, _ := strconv.ParseInt(route.Attrs["metric"], 10, 64) // "" is 0
			put(metric, p, func() {
				v4.Routes = slices.DeleteFunc(v4.Routes, func(q netRoute) bool { return q.String() == text })
			})
		}
	}
}

// settlePriorities numbers the rules that say no priority as the kernel does:
// one less than the second rule in force (fib_default_rule_pref).
func settlePriorities(list []*netProfile) {
	for _, f := range []family{ipv4, ipv6} {
		lowest := int64(32766) // main; local, at 0, does not count
		for _, p := range list {
			rules := f.of(p).Rules
			for i := range rules {
				if rules[i].Priority < 0 {
					rules[i].Priority = max(lowest-1, 0)
				}
				if rules[i].Priority > 0 {
					lowest = min(lowest, rules[i].Priority)
				}
			}
		}
	}
}
