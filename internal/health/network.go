package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// checkAddress looks for an address: any, on the named interface, or the named
// one. Link-local addresses come by themselves and show nothing.
func checkAddress(want string) func(context.Context, host) (string, error) {
	exact, err := netip.ParseAddr(want)
	isExact := err == nil
	return func(_ context.Context, h host) (string, error) {
		list, err := h.interfaces()
		if err != nil {
			return "", fmt.Errorf("reading the interfaces: %w", err)
		}
		for _, i := range list {
			if !i.up || i.loopback || !isExact && want != "" && i.name != want {
				continue
			}
			for _, a := range i.addrs {
				if isExact && a == exact || !isExact && a.IsGlobalUnicast() {
					return fmt.Sprintf("%s on %s", a, i.name), nil
				}
			}
		}
		switch {
		case isExact:
			return "", fmt.Errorf("no interface that is up has %s", want)
		case want != "":
			return "", fmt.Errorf("%s is missing, down or without address", want)
		}
		return "", errors.New("no interface that is up has an address")
	}
}

// checkDefaultRoute looks for a default route of IPv4 or IPv6 in the main
// table.
func checkDefaultRoute(_ context.Context, h host) (string, error) {
	for name, find := range map[string]func(string) string{"route": defaultRoute4, "ipv6_route": defaultRoute6} {
		b, err := os.ReadFile(filepath.Join(h.proc, "net", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return "", fmt.Errorf("reading the routes: %w", err)
		}
		if dev := find(string(b)); dev != "" {
			return "by " + dev, nil
		}
	}
	return "", errors.New("there is no default route")
}

// Flags of a route, linux/route.h.
const (
	routeUp     = 0x1
	routeReject = 0x200
)

// defaultRoute4 returns the interface of a default route of /proc/net/route,
// or "". Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask ….
func defaultRoute4(table string) string {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) >= 8 && f[1] == "00000000" && f[7] == "00000000" && usable(f[3]) {
			return f[0]
		}
	}
	return ""
}

// defaultRoute6 does the same for /proc/net/ipv6_route. Columns: destination,
// its prefix length, source, its prefix length, next hop, metric, references,
// use, flags, interface. The kernel always lists an unusable default on lo.
func defaultRoute6(table string) string {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) >= 10 && strings.Trim(f[0], "0") == "" && f[1] == "00" && usable(f[8]) && f[9] != "lo" {
			return f[9]
		}
	}
	return ""
}

func usable(flags string) bool {
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&routeUp != 0 && n&routeReject == 0
}
