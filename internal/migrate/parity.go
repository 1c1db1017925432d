package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// ErrParity is wrapped by the error for a parity record that cannot be read.
var ErrParity = errors.New("parity record")

// Parity is how a running system appears to those who use it: where it
// answers, what it asks, and who can log in. start captures that of the old
// system; in the trial that of the new one must be the same, or the old system
// comes back.
//
// It is the state of the kernel and not that of configuration files: files
// that were translated may be read differently than was meant.
type Parity struct {
	Format   int    `json:"format"` // 1
	Hostname string `json:"hostname"`
	// Links are the interfaces that have a hardware address.
	Links []ParityLink `json:"links"`
	// Gateways are the default routes of the main table.
	Gateways []ParityGateway `json:"gateways"`
	// NameServers are those of resolv.conf, in order.
	NameServers []netip.Addr `json:"nameServers"`
	// SSHPorts are the TCP ports that sshd listens on, for others than itself.
	SSHPorts []int        `json:"sshPorts"`
	Users    []ParityUser `json:"users"`

	// What only the new system is asked for is not stored: the ports that
	// anything listens on, and whether passwords are checked by glibc's own
	// crypt, which knows old formats only.
	listening []int
	oldCrypt  bool
}

// ParityLink is one interface.
type ParityLink struct {
	MAC  string `json:"mac"`
	Name string `json:"name"`
	// Card: there is a device behind it, and not only software.
	Card bool `json:"card"`
	// Carrier: the cable is in. What an interface without one has or lacks
	// says nothing about the system.
	Carrier   bool            `json:"carrier"`
	Addresses []ParityAddress `json:"addresses"`
}

// ParityAddress is one address that others can reach.
type ParityAddress struct {
	Prefix netip.Prefix `json:"prefix"`
	// Dynamic: leased, or made from router advertisements. The next one may
	// differ.
	Dynamic bool `json:"dynamic"`
}

// ParityGateway is one default route.
type ParityGateway struct {
	// Via is the router; unspecified for a route without one (PPP, say).
	Via netip.Addr `json:"via"`
	// MAC is that of the interface.
	MAC string `json:"mac"`
	// Dynamic: from a router advertisement.
	Dynamic bool `json:"dynamic"`
}

// ParityUser is an account of a person: root, or one with a UID from 1000 on.
type ParityUser struct {
	Name string `json:"name"`
	UID  int    `json:"uid"`
	// Hash is the SHA-256 of the password's hash, in hexadecimal; empty when
	// no password is accepted.
	Hash string `json:"hash"`
	// Format is how the password was hashed: "6" of "$6$…", "" for DES.
	Format string `json:"format"`
}

// maxParity bounds the record; accounts beyond it are not compared.
const maxParity = 60 << 10

// Encode returns the record as it is stored. A device with so many accounts
// that they do not fit is compared by as many as do.
func (p *Parity) Encode() ([]byte, error) {
	c := *p
	c.Format = 1
	for {
		b, err := json.Marshal(c)
		if err != nil || len(b) <= maxParity {
			return b, err
		}
		if len(c.Users) == 0 {
			return nil, fmt.Errorf("%w: %d bytes, more than %d: too many interfaces", ErrParity, len(b), maxParity)
		}
		c.Users = c.Users[:len(c.Users)/2]
	}
}

// ParseParity reads what Encode wrote.
func ParseParity(b []byte) (*Parity, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrParity)
	}
	if len(b) > maxParity {
		return nil, fmt.Errorf("%w: %d bytes", ErrParity, len(b))
	}
	p := &Parity{}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrParity, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: more than one value", ErrParity)
	}
	if p.Format != 1 {
		return nil, fmt.Errorf("%w: format %d is unknown", ErrParity, p.Format)
	}
	return p, nil
}
