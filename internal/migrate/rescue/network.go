package rescue

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/migrate"
)

// Up gives each card the addresses that it had in the old system, and the
// machine its default routes. What is leased is taken as it was: there is no
// DHCP client here. Addresses of bonds, bridges and VLANs are left out. It
// returns the addresses that work, and why others do not.
func Up(p *migrate.Parity) ([]netip.Prefix, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	byMAC := map[string]int{}
	for _, l := range links {
		if len(l.HardwareAddr) > 0 {
			byMAC[l.HardwareAddr.String()] = l.Index
		}
	}
	nl, err := openNetlink()
	if err != nil {
		return nil, err
	}
	defer nl.close()
	var up []netip.Prefix
	var errs []error
	for _, l := range p.Links {
		index, ok := byMAC[strings.ToLower(l.MAC)]
		if !ok || !l.Card || len(l.Addresses) == 0 {
			continue
		}
		if err := nl.linkUp(index); err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", l.Name, err))
			continue
		}
		for _, a := range l.Addresses {
			if err := nl.addAddress(index, a.Prefix); err != nil && !errors.Is(err, unix.EEXIST) {
				errs = append(errs, fmt.Errorf("address %v: %w", a.Prefix, err))
				continue
			}
			up = append(up, a.Prefix)
		}
	}
	for _, g := range p.Gateways {
		index, ok := byMAC[strings.ToLower(g.MAC)]
		if !ok || !g.Via.IsValid() || g.Via.IsUnspecified() {
			continue
		}
		if err := nl.addDefault(index, g.Via); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("route by %v: %w", g.Via, err))
		}
	}
	if len(up) == 0 {
		errs = append(errs, errors.New("no card of the old system's has an address"))
	}
	return up, errors.Join(errs...)
}
