package rescue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// netlink is a socket to the kernel's routing tables (rtnetlink(7)).
type netlink struct {
	fd  int
	seq uint32
}

func openNetlink() (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &netlink{fd: fd}, nil
}

func (n *netlink) close() { _ = unix.Close(n.fd) }

var ne = binary.NativeEndian

// attribute is a struct rtattr with its value, padded.
func attribute(kind uint16, value []byte) []byte {
	b := make([]byte, (unix.SizeofRtAttr+len(value)+3)/4*4)
	ne.PutUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	ne.PutUint16(b[2:], kind)
	copy(b[unix.SizeofRtAttr:], value)
	return b
}

func index(i int) []byte { return ne.AppendUint32(nil, uint32(i)) }

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (n *netlink) linkUp(i int) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	ne.PutUint32(body[4:], uint32(i))
	ne.PutUint32(body[8:], unix.IFF_UP)  // the flags
	ne.PutUint32(body[12:], unix.IFF_UP) // which of them change
	return n.ask(unix.RTM_NEWLINK, 0, body)
}

func (n *netlink) addAddress(i int, p netip.Prefix) error {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0], body[1] = family(p.Addr()), byte(p.Bits())
	ne.PutUint32(body[4:], uint32(i))
	if p.Addr().Is6() {
		body[2] = unix.IFA_F_NODAD // it was ours a moment ago
	}
	addr := p.Addr().AsSlice()
	body = append(body, attribute(unix.IFA_LOCAL, addr)...)
	return n.ask(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(body, attribute(unix.IFA_ADDRESS, addr)...))
}

func (n *netlink) addDefault(i int, via netip.Addr) error {
	body := make([]byte, unix.SizeofRtMsg)
	body[0] = family(via)
	body[4], body[5] = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC
	body[6], body[7] = unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST
	// A router that the address's network does not hold, as some hosters have.
	ne.PutUint32(body[8:], unix.RTNH_F_ONLINK)
	body = append(body, attribute(unix.RTA_GATEWAY, via.AsSlice())...)
	return n.ask(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(body, attribute(unix.RTA_OIF, index(i))...))
}

// ask sends a request and waits for the kernel's answer.
func (n *netlink) ask(kind, flags uint16, body []byte) error {
	n.seq++
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	ne.PutUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	ne.PutUint16(b[4:], kind)
	ne.PutUint16(b[6:], flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	ne.PutUint32(b[8:], n.seq)
	if err := unix.Sendto(n.fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	size, _, err := unix.Recvfrom(n.fd, answer, 0)
	if err != nil {
		return err
	}
	if size < unix.SizeofNlMsghdr+4 || ne.Uint16(answer[4:]) != unix.NLMSG_ERROR || ne.Uint32(answer[8:]) != n.seq {
		return errors.New("an unexpected answer of the kernel")
	}
	if code := int32(ne.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
