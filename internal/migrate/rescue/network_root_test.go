//go:build root

package rescue

import (
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/migrate"
)

// TestUp sets addresses and routes in a network of its own, and lets iproute2
// say what the kernel has.
func TestUp(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v %s (apt-get install iproute2)", args, err, out)
		}
		return string(out)
	}
	ip("link", "add", "card0", "address", "52:54:00:00:00:01", "type", "veth", "peer", "name", "switch0")
	ip("link", "set", "switch0", "up")
	p := &migrate.Parity{
		Links: []migrate.ParityLink{
			{MAC: "52:54:00:00:00:01", Name: "eth0", Card: true, Addresses: []migrate.ParityAddress{
				{Prefix: netip.MustParsePrefix("192.0.2.7/24")}, {Prefix: netip.MustParsePrefix("2001:db8::7/64")},
			}},
			{MAC: "52:54:00:00:00:02", Name: "eth1", Card: true, Addresses: []migrate.ParityAddress{{Prefix: netip.MustParsePrefix("198.51.100.1/24")}}},
		},
		Gateways: []migrate.ParityGateway{{Via: netip.MustParseAddr("192.0.2.1"), MAC: "52:54:00:00:00:01"}},
	}
	for range 2 { // it may be asked for again
		up, err := Up(p)
		if err != nil || len(up) == 0 {
			t.Fatalf("%v, %v", up, err)
		}
	}
	if _, err := net.InterfaceByName("card0"); err != nil {
		t.Fatal(err)
	}
	addresses, routes := ip("address", "show", "card0"), ip("route")
	for _, want := range []string{"inet 192.0.2.7/24", "inet6 2001:db8::7/64", "UP"} {
		if !strings.Contains(addresses, want) {
			t.Errorf("no %q in %s", want, addresses)
		}
	}
	if !strings.Contains(routes, "default via 192.0.2.1 dev card0") {
		t.Errorf("routes: %s", routes)
	}
	if _, err := Up(&migrate.Parity{}); err == nil {
		t.Error("no address at all was no error")
	}
}
