package health

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onHost makes one check on h.
func onHost(t *testing.T, spec string, h host) []Result {
	t.Helper()
	check, err := ParseCheck(spec)
	if err != nil {
		t.Fatal(err)
	}
	c := &Checker{options: Options{Timeout: defaultTimeout}, host: h}
	return c.run(t.Context(), check)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAddress(t *testing.T) {
	addrs := func(s ...string) (list []netip.Addr) {
		for _, a := range s {
			list = append(list, netip.MustParseAddr(a))
		}
		return list
	}
	lo := iface{name: "lo", up: true, loopback: true, addrs: addrs("127.0.0.1", "::1", "192.0.2.7")}
	for _, tc := range []struct {
		name string
		list []iface
		good []string
		bad  []string
	}{
		{"nothing", nil, nil, []string{"address", "address:eth0", "address:192.0.2.1"}},
		{"loopback alone", []iface{lo}, nil, []string{"address", "address:lo", "address:127.0.0.1", "address:192.0.2.7"}},
		{
			"link-local alone",
			[]iface{lo, {name: "eth0", up: true, addrs: addrs("fe80::1", "169.254.1.1")}},
			[]string{"address:fe80::1"},
			[]string{"address", "address:eth0"},
		},
		{
			"IPv4",
			[]iface{lo, {name: "eth0", up: true, addrs: addrs("192.0.2.1")}},
			[]string{"address", "address:eth0", "address:192.0.2.1"},
			[]string{"address:eth1", "address:192.0.2.2"},
		},
		{"private IPv4", []iface{{name: "eth0", up: true, addrs: addrs("10.0.0.1")}}, []string{"address"}, nil},
		{
			"IPv6",
			[]iface{{name: "eth0", up: true, addrs: addrs("fe80::1", "2001:db8::1")}},
			[]string{"address", "address:2001:db8::1", "address:2001:0db8::0001"},
			[]string{"address:2001:db8::2"},
		},
		{"down", []iface{{name: "eth0", addrs: addrs("192.0.2.1")}}, nil, []string{"address", "address:eth0", "address:192.0.2.1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := host{interfaces: func() ([]iface, error) { return tc.list, nil }}
			for want, specs := range map[bool][]string{true: tc.good, false: tc.bad} {
				for _, spec := range specs {
					if r := onHost(t, spec, h); r[0].OK != want || r[0].Detail == "" || r[0].Name != spec {
						t.Errorf("%s: %+v", spec, r)
					}
				}
			}
		})
	}
}

func TestSystemInterfacesHasLoopback(t *testing.T) {
	list, err := systemInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		for _, a := range i.addrs {
			if i.loopback && a == netip.MustParseAddr("127.0.0.1") {
				return
			}
		}
	}
	t.Errorf("no loopback address among %+v", list)
}

const (
	// As Linux 6.1 prints them.
	routeHead    = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n"
	routeNet     = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0                                                                             \n"
	routeVia     = "eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0                                                                               \n"
	routeReject4 = "*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0                                                                               \n"
	zero128      = "00000000000000000000000000000000"
	route6Lo     = zero128 + " 00 " + zero128 + " 00 " + zero128 + " ffffffff 00000001 00000000 00200200       lo\n"
	route6Net    = "20010db8000000000000000000000000 40 " + zero128 + " 00 " + zero128 + " 00000100 00000001 00000000 00000001     eth1\n"
	route6Via    = zero128 + " 00 " + zero128 + " 00 fe800000000000000000000000000001 00000400 00000002 00000000 00450003     eth1\n"
)

func TestDefaultRoute(t *testing.T) {
	for name, tc := range map[string]struct{ v4, v6, by string }{
		"none":          {routeHead + routeNet, route6Lo + route6Net, ""},
		"IPv4":          {routeHead + routeNet + routeVia, route6Lo, "by eth0"},
		"IPv6":          {routeHead + routeNet, route6Net + route6Via + route6Lo, "by eth1"},
		"rejected":      {routeHead + routeReject4, route6Lo, ""},
		"no IPv6":       {routeHead + routeVia, "-", "by eth0"},
		"no network":    {"-", "-", ""},
		"empty":         {"", "", ""},
		"not a table":   {"a b c\n\n\x00\xff", "00 00", ""},
		"flags no hex":  {strings.Replace(routeHead+routeVia, "0003", "zzzz", 1), "", ""},
		"route is down": {strings.Replace(routeHead+routeVia, "0003", "0002", 1), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := host{proc: t.TempDir()}
			for file, text := range map[string]string{"route": tc.v4, "ipv6_route": tc.v6} {
				if text != "-" {
					write(t, filepath.Join(h.proc, "net", file), text)
				}
			}
			r := onHost(t, "default-route", h)[0]
			if r.OK != (tc.by != "") || r.OK && r.Detail != tc.by {
				t.Errorf("%+v, want %q", r, tc.by)
			}
		})
	}
}

// The tables come from the kernel, but a parser must survive anything.
func FuzzDefaultRoute(f *testing.F) {
	f.Add(routeHead + routeNet + routeVia)
	f.Add(route6Lo + route6Net + route6Via)
	f.Fuzz(func(t *testing.T, table string) {
		for _, dev := range []string{defaultRoute4(table), defaultRoute6(table)} {
			if dev != "" && !strings.Contains(table, dev) {
				t.Errorf("device %q is not in the table", dev)
			}
		}
	})
}
