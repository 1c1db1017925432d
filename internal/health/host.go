package health

import (
	"net"
	"net/netip"
)

// host is where the built-in checks look, so that tests can show them another
// machine.
type host struct {
	proc       string // /proc
	resolvConf string
	// systemdRun exists when systemd runs the machine, sd_booted(3).
	systemdRun string
	systemctl  []string // paths to try
	interfaces func() ([]iface, error)
}

// iface is a network interface and its addresses.
type iface struct {
	name     string
	up       bool
	loopback bool
	addrs    []netip.Addr
}

func realHost() host {
	return host{
		proc:       "/proc",
		resolvConf: "/etc/resolv.conf",
		systemdRun: "/run/systemd/system",
		systemctl:  []string{"/usr/bin/systemctl", "/bin/systemctl"},
		interfaces: systemInterfaces,
	}
}

// systemInterfaces asks the kernel over rtnetlink; package net does that
// without cgo and with what Linux 3.10 knows.
func systemInterfaces() ([]iface, error) {
	found, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	list := make([]iface, len(found))
	for i, f := range found {
		list[i] = iface{
			name:     f.Name,
			up:       f.Flags&net.FlagUp != 0,
			loopback: f.Flags&net.FlagLoopback != 0,
		}
		addrs, err := f.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				list[i].addrs = append(list[i].addrs, prefix.Addr().Unmap())
			}
		}
	}
	return list, nil
}
