package migrate

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// parityRoot is a machine made of files: a card with a static and a leased
// address, a bridge of software, sshd on two ports.
func parityRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"proc/sys/kernel/hostname":        "gw1.example.com\n",
		"sys/class/net/eth0/address":      "52:54:00:00:00:01\n",
		"sys/class/net/eth0/carrier":      "1\n",
		"sys/class/net/eth0/device/x":     "",
		"sys/class/net/eth1/address":      "52:54:00:00:00:02\n",
		"sys/class/net/eth1/carrier":      "0\n",
		"sys/class/net/eth1/device/x":     "",
		"sys/class/net/virbr0/address":    "52:54:00:aa:00:01\n",
		"sys/class/net/virbr0/carrier":    "1\n",
		"sys/class/net/lo/address":        "00:00:00:00:00:00\n",
		"proc/net/route":                  "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\neth0\t00000000\t0202000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth0\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n",
		"proc/net/ipv6_route":             "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000002 00000400 00000001 00000000 00450003 eth0\n00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n",
		"proc/net/tcp":                    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 0\n   1: 0100007F:177A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1002 1 0\n   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2001 1 0\n   3: 0F02000A:0016 0202000A:8000 01 00000000:00000000 00:00000000 00000000     0        0 1003 1 0\n",
		"proc/net/tcp6":                   "  sl  local_address ...\n   0: 00000000000000000000000000000000:08AE 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1004 1 0\n   1: 00000000000000000000000001000000:177B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1005 1 0\n",
		"proc/700/comm":                   "sshd\n",
		"proc/700/cmdline":                "/usr/sbin/sshd\x00-D\x00",
		"proc/800/comm":                   "dhclient\n",
		"proc/800/cmdline":                "/sbin/dhclient\x00-1\x00-lf\x00/var/lib/x\x00eth1\x00",
		"etc/resolv.conf":                 "search example.com\nnameserver 127.0.0.53\nnameserver 2001:db8::53\n",
		"run/systemd/resolve/resolv.conf": "nameserver 10.0.2.3\nnameserver 2001:db8::53\n",
		"etc/passwd":                      "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1::/bin:/sbin/nologin\nadmin:x:1000:1000::/home/admin:/bin/bash\nkeyonly:x:1001:1001::/home/k:/bin/bash\nnobody:x:65534:65534::/:/sbin/nologin\nbroken\n",
		"etc/shadow":                      "root:$6$salt$hash:18000:0:99999:7:::\nadmin:$y$j9T$salt$hash:1::::::\nkeyonly:!!:1::::::\n",
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "proc/700/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for fd, inode := range map[string]string{"3": "1001", "4": "1002", "5": "1004", "6": "1005"} {
		if err := os.Symlink("socket:["+inode+"]", filepath.Join(root, "proc/700/fd", fd)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func parityAddresses() ([]linkAddress, error) {
	address := func(link, prefix string, dynamic bool) linkAddress {
		return linkAddress{link, ParityAddress{netip.MustParsePrefix(prefix), dynamic}}
	}
	return []linkAddress{
		address("lo", "127.0.0.1/8", false),
		address("eth0", "10.0.2.15/24", false),
		address("eth0", "2001:db8::15/64", true),
		address("eth0", "fe80::1/64", false),
		address("eth1", "10.1.0.7/16", false), // by a client that gives no lifetime
		address("virbr0", "192.168.122.1/24", false),
	}, nil
}

func capturedParity(t *testing.T) *Parity {
	t.Helper()
	p, err := captureParity(parityRoot(t), parityAddresses)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCaptureParity(t *testing.T) {
	t.Parallel()
	p := capturedParity(t)
	if p.Hostname != "gw1.example.com" {
		t.Errorf("host name %q", p.Hostname)
	}
	addr := func(prefix string, dynamic bool) ParityAddress {
		return ParityAddress{netip.MustParsePrefix(prefix), dynamic}
	}
	links := []ParityLink{
		{"52:54:00:00:00:01", "eth0", true, true, []ParityAddress{addr("10.0.2.15/24", false), addr("2001:db8::15/64", true)}},
		{"52:54:00:00:00:02", "eth1", true, false, []ParityAddress{addr("10.1.0.7/16", true)}},
		{"52:54:00:aa:00:01", "virbr0", false, true, []ParityAddress{addr("192.168.122.1/24", false)}},
	}
	if !reflect.DeepEqual(p.Links, links) {
		t.Errorf("links\n%+v, want\n%+v", p.Links, links)
	}
	gateways := []ParityGateway{
		{netip.MustParseAddr("10.0.2.2"), "52:54:00:00:00:01", false},
		{netip.MustParseAddr("fe80::2"), "52:54:00:00:00:01", true},
	}
	if !reflect.DeepEqual(p.Gateways, gateways) {
		t.Errorf("gateways %+v", p.Gateways)
	}
	if want := []netip.Addr{netip.MustParseAddr("10.0.2.3"), netip.MustParseAddr("2001:db8::53")}; !slices.Equal(p.NameServers, want) {
		t.Errorf("name servers %v", p.NameServers)
	}
	if !slices.Equal(p.SSHPorts, []int{22, 2222}) || !slices.Equal(p.listening, []int{22, 80, 2222}) {
		t.Errorf("ports of sshd %v, of all %v", p.SSHPorts, p.listening)
	}
	var users []string
	for _, u := range p.Users {
		users = append(users, u.Name+" "+u.Format+map[bool]string{true: " locked"}[u.Hash == ""])
	}
	if want := []string{"root 6", "admin y", "keyonly  locked"}; !slices.Equal(users, want) {
		t.Errorf("users %q", users)
	}
	if b, err := p.Encode(); err != nil || strings.Contains(string(b), "salt") {
		t.Errorf("the record holds a password's hash (%v)", err)
	}
}

func TestParityRoundTrip(t *testing.T) {
	t.Parallel()
	p := capturedParity(t)
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseParity(b)
	if err != nil {
		t.Fatal(err)
	}
	p.listening = nil
	if !reflect.DeepEqual(got, p) {
		t.Errorf("%+v became %+v", p, got)
	}
	for range 2000 {
		p.Users = append(p.Users, ParityUser{Name: strings.Repeat("u", 30), Hash: strings.Repeat("a", 64)})
	}
	if b, err = p.Encode(); err != nil || len(b) > maxParity {
		t.Errorf("2000 accounts: %d bytes, %v", len(b), err)
	}
	if got, err := ParseParity(b); err != nil || len(got.Users) == 0 {
		t.Errorf("2000 accounts: %v", err)
	}
}

// TestParityCompare: what each difference means. "" is no failure; names of
// wanted ones begin with a question mark.
func TestParityCompare(t *testing.T) {
	t.Parallel()
	user := func(p *Parity, name string) *ParityUser {
		return &p.Users[slices.IndexFunc(p.Users, func(u ParityUser) bool { return u.Name == name })]
	}
	rows := map[string]struct {
		change func(*Parity)
		fails  []string
	}{
		"the same":            {func(*Parity) {}, nil},
		"interface renamed":   {func(p *Parity) { p.Links[0].Name = "ens192" }, nil},
		"bond over the card":  {func(p *Parity) { moveTo(p, ParityLink{MAC: p.Links[0].MAC, Name: "bond0", Carrier: true}) }, nil},
		"another IPv6 lease":  {func(p *Parity) { p.Links[0].Addresses[1].Prefix = netip.MustParsePrefix("2001:db8::77/64") }, nil},
		"no IPv6 lease":       {func(p *Parity) { p.Links[0].Addresses = p.Links[0].Addresses[:1] }, []string{"an IPv6 address on 52:54:00:00:00:01"}},
		"another address":     {func(p *Parity) { p.Links[0].Addresses[0].Prefix = netip.MustParsePrefix("10.0.2.16/24") }, []string{"address 10.0.2.15/24 on 52:54:00:00:00:01"}},
		"another mask":        {func(p *Parity) { p.Links[0].Addresses[0].Prefix = netip.MustParsePrefix("10.0.2.15/16") }, []string{"address 10.0.2.15/24 on 52:54:00:00:00:01"}},
		"static became DHCP":  {func(p *Parity) { p.Links[0].Addresses[0].Dynamic = true }, nil},
		"card is gone":        {func(p *Parity) { p.Links = p.Links[1:] }, []string{"address 10.0.2.15/24 on 52:54:00:00:00:01", "an IPv6 address on 52:54:00:00:00:01"}},
		"no cable before":     {func(p *Parity) { p.Links[1].Addresses = nil }, []string{"?an IPv4 address on 52:54:00:00:00:02"}},
		"no software bridge":  {func(p *Parity) { p.Links = p.Links[:2] }, []string{"?address 192.168.122.1/24 on 52:54:00:aa:00:01"}},
		"bridge, another MAC": {func(p *Parity) { p.Links[2].MAC = "52:54:00:bb:00:01" }, nil},
		"another gateway":     {func(p *Parity) { p.Gateways[0].Via = netip.MustParseAddr("10.0.2.1") }, []string{"gateway 10.0.2.2 on 52:54:00:00:00:01"}},
		"another RA router":   {func(p *Parity) { p.Gateways[1].Via = netip.MustParseAddr("fe80::3") }, nil},
		"no RA router":        {func(p *Parity) { p.Gateways = p.Gateways[:1] }, []string{"a gateway for IPv6 on 52:54:00:00:00:01"}},
		"gateway elsewhere":   {func(p *Parity) { p.Gateways[0].MAC = p.Links[1].MAC }, []string{"gateway 10.0.2.2 on 52:54:00:00:00:01"}},
		"a name server less":  {func(p *Parity) { p.NameServers = p.NameServers[1:] }, []string{"name server 10.0.2.3"}},
		"a name server more":  {func(p *Parity) { p.NameServers = append(p.NameServers, netip.MustParseAddr("9.9.9.9")) }, nil},
		"another host name":   {func(p *Parity) { p.Hostname = "localhost" }, []string{"host name gw1.example.com"}},
		"sshd is down":        {func(p *Parity) { p.listening = []int{80} }, []string{"ssh on port 22", "ssh on port 2222"}},
		"sshd by a socket":    {func(p *Parity) { p.SSHPorts = nil }, nil},
		"an account less":     {func(p *Parity) { p.Users = p.Users[:2] }, []string{"user keyonly"}},
		"another password":    {func(p *Parity) { user(p, "root").Hash = "00" }, []string{"user root"}},
		"no password":         {func(p *Parity) { user(p, "admin").Hash = "" }, []string{"user admin"}},
		"password unlocked":   {func(p *Parity) { user(p, "keyonly").Hash = "00" }, []string{"user keyonly"}},
		"another UID":         {func(p *Parity) { user(p, "admin").UID = 1005 }, []string{"user admin"}},
		"crypt of glibc":      {func(p *Parity) { p.oldCrypt = true }, []string{"?password of admin"}},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, now := capturedParity(t), capturedParity(t)
			r.change(now)
			var fails []string
			for _, f := range before.Compare(now) {
				if f.OK {
					continue
				}
				word := strings.TrimPrefix(f.Name, "parity: ")
				if !f.Required {
					word = "?" + word
				}
				fails = append(fails, word)
			}
			slices.Sort(fails)
			slices.Sort(r.fails)
			if !slices.Equal(fails, r.fails) {
				t.Errorf("fails %q, want %q", fails, r.fails)
			}
		})
	}
}

// moveTo gives the addresses of the first interface to another one.
func moveTo(p *Parity, l ParityLink) {
	l.Addresses, p.Links[0].Addresses = p.Links[0].Addresses, nil
	p.Links = append(p.Links, l)
}

func TestParityExcuses(t *testing.T) {
	t.Parallel()
	p := capturedParity(t)
	if got := p.Excused(); len(got) != 0 {
		t.Errorf("excused %q", got)
	}
	if got := (&Parity{}).Excused(); !slices.Equal(got, []string{"address", "default-route"}) {
		t.Errorf("excused %q", got)
	}
}

// TestKernelAddresses compares what netlink says with package net.
func TestKernelAddresses(t *testing.T) {
	t.Parallel()
	all, err := kernelAddresses()
	if err != nil {
		t.Fatal(err)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := lo.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if !slices.ContainsFunc(all, func(l linkAddress) bool { return l.link == "lo" && l.Prefix.String() == a.String() && !l.Dynamic }) {
			t.Errorf("%v of lo is missing in %+v", a, all)
		}
	}
}

func FuzzParseParity(f *testing.F) {
	b, err := (&Parity{Hostname: "gw", NameServers: []netip.Addr{netip.MustParseAddr("::1")}}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":1}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseParity(b)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil {
			t.Skip() // no input: it is larger than the record may be
		}
		if q, err := ParseParity(again); err != nil || len(q.Users) > len(p.Users) {
			t.Fatalf("%q: %v", again, err)
		}
		p.Compare(p)
	})
}

func FuzzRoutesAndListeners(f *testing.F) {
	f.Add("eth0 00000000 0202000A 0003 0 0 100 00000000 0 0 0")
	f.Add("0: 00000000:0016 00000000:0000 0A 0 0 0 0 0 1001")
	f.Fuzz(func(_ *testing.T, line string) {
		fields := strings.Fields(line)
		defaultRoute4(fields)
		defaultRoute6(fields)
		parseListener(fields)
		parseNameServers(line)
	})
}
