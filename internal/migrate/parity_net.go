package migrate

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelAddresses asks rtnetlink for all addresses. Package net would not tell
// which of them are leased.
func kernelAddresses() ([]linkAddress, error) {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, fmt.Errorf("netlink answer: %w", err)
	}
	names := map[int]string{}
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var all []linkAddress
	for i := range messages {
		if messages[i].Header.Type != unix.RTM_NEWADDR {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&messages[i])
		if err != nil {
			return nil, fmt.Errorf("netlink answer: %w", err)
		}
		if a, index, ok := parseAddress(messages[i].Data, attrs); ok {
			all = append(all, linkAddress{names[index], a})
		}
	}
	return all, nil
}

// parseAddress reads a struct ifaddrmsg and its attributes (rtnetlink(7)). ok
// is false for an address that is no use to others: tentative, temporary, or
// of a family other than IP.
func parseAddress(msg []byte, attrs []syscall.NetlinkRouteAttr) (a ParityAddress, index int, ok bool) {
	if len(msg) < unix.SizeofIfAddrmsg {
		return a, 0, false
	}
	family, bits, flags := msg[0], int(msg[1]), uint32(msg[2])
	index = int(binary.NativeEndian.Uint32(msg[4:]))
	var addr netip.Addr
	local := false
	for _, at := range attrs {
		switch at.Attr.Type {
		case unix.IFA_FLAGS: // since Linux 3.14: more bits than a byte has
			if len(at.Value) >= 4 {
				flags = binary.NativeEndian.Uint32(at.Value)
			}
		case unix.IFA_LOCAL, unix.IFA_ADDRESS:
			// On a point-to-point interface IFA_ADDRESS is the other end.
			if ip, isIP := netip.AddrFromSlice(at.Value); isIP && !local {
				addr, local = ip, at.Attr.Type == unix.IFA_LOCAL
			}
		}
	}
	if family != unix.AF_INET && family != unix.AF_INET6 || flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
		return a, 0, false
	}
	if family == unix.AF_INET6 && flags&unix.IFA_F_TEMPORARY != 0 {
		return a, 0, false
	}
	a = ParityAddress{Prefix: netip.PrefixFrom(addr, bits), Dynamic: flags&unix.IFA_F_PERMANENT == 0}
	return a, index, a.Prefix.IsValid()
}

// Flags of a route, linux/route.h and linux/ipv6_route.h.
const (
	routeUp      = 0x1
	routeReject  = 0x200
	routeDefault = 0x10000 // learned from a router advertisement
)

// gateways reads the default routes of the main table.
func (m parityMachine) gateways(links []ParityLink) ([]ParityGateway, error) {
	var all []ParityGateway
	for name, parse := range map[string]func([]string) (string, ParityGateway, bool){"route": defaultRoute4, "ipv6_route": defaultRoute6} {
		b, err := os.ReadFile(m.path(filepath.Join("proc/net", name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("reading the routes: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			link, g, ok := parse(strings.Fields(line))
			i := slices.IndexFunc(links, func(l ParityLink) bool { return l.Name == link })
			if !ok || i < 0 {
				continue
			}
			if g.MAC = links[i].MAC; !slices.Contains(all, g) {
				all = append(all, g)
			}
		}
	}
	slices.SortFunc(all, func(a, b ParityGateway) int { return a.Via.Compare(b.Via) })
	return all, nil
}

// defaultRoute4 reads a line of /proc/net/route. Columns: Iface Destination
// Gateway Flags RefCnt Use Metric Mask ….
func defaultRoute4(f []string) (link string, g ParityGateway, ok bool) {
	if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || !routeUsable(f[3]) {
		return "", g, false
	}
	b, err := hex.DecodeString(f[2])
	if err != nil || len(b) != 4 {
		return "", g, false
	}
	slices.Reverse(b) // the kernel prints the number in the CPU's order
	g.Via, ok = netip.AddrFromSlice(b)
	return f[0], g, ok
}

// defaultRoute6 reads a line of /proc/net/ipv6_route. Columns: destination,
// its prefix length, source, its prefix length, next hop, metric, references,
// use, flags, interface.
func defaultRoute6(f []string) (link string, g ParityGateway, ok bool) {
	if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || !routeUsable(f[8]) || f[9] == "lo" {
		return "", g, false
	}
	b, err := hex.DecodeString(f[4])
	if err != nil {
		return "", g, false
	}
	flags, err := strconv.ParseUint(f[8], 16, 32)
	g.Dynamic = err == nil && flags&routeDefault != 0
	g.Via, ok = netip.AddrFromSlice(b)
	return f[9], g, ok
}

func routeUsable(flags string) bool {
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&routeUp != 0 && n&routeReject == 0
}
