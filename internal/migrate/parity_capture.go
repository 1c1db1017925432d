package migrate

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// CaptureParity reads how the running machine appears to others: by netlink,
// and from /proc, /sys and /etc, which are the same on kernels from 3.10 on.
func CaptureParity() (*Parity, error) {
	return captureParity("/", kernelAddresses)
}

// linkAddress is an address as the kernel tells it.
type linkAddress struct {
	link string // name
	ParityAddress
}

// captureParity reads the machine whose file system begins at root.
func captureParity(root string, addresses func() ([]linkAddress, error)) (*Parity, error) {
	m := parityMachine{root}
	p := &Parity{Format: 1}
	host, err := os.ReadFile(m.path("proc/sys/kernel/hostname"))
	if err != nil {
		return nil, fmt.Errorf("reading the host name: %w", err)
	}
	p.Hostname = strings.TrimSpace(string(host))
	if p.Links, err = m.links(addresses); err != nil {
		return nil, err
	}
	if p.Gateways, err = m.gateways(p.Links); err != nil {
		return nil, err
	}
	p.NameServers = m.nameServers()
	if p.SSHPorts, p.listening, err = m.listeners(); err != nil {
		return nil, err
	}
	p.oldCrypt = m.oldCrypt()
	if p.Users, err = m.users(); err != nil {
		return nil, err
	}
	return p, nil
}

type parityMachine struct{ root string }

func (m parityMachine) path(name string) string { return filepath.Join(m.root, name) }

// text reads a small file of /sys or /etc; one that is not there is empty.
func (m parityMachine) text(name string) string {
	b, _ := os.ReadFile(m.path(name)) // its absence is an answer
	return strings.TrimSpace(string(b))
}

// links lists the interfaces with a hardware address, with their addresses.
func (m parityMachine) links(addresses func() ([]linkAddress, error)) ([]ParityLink, error) {
	entries, err := os.ReadDir(m.path("sys/class/net"))
	if err != nil {
		return nil, fmt.Errorf("listing the interfaces: %w", err)
	}
	all, err := addresses()
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of the interfaces: %w", err)
	}
	var links []ParityLink
	for _, e := range entries {
		dir := filepath.Join("sys/class/net", e.Name())
		mac := m.text(dir + "/address")
		if len(mac) != len("00:00:00:00:00:00") || mac == "00:00:00:00:00:00" {
			continue
		}
		_, cardErr := os.Stat(m.path(dir + "/device"))
		l := ParityLink{MAC: mac, Name: e.Name(), Card: cardErr == nil, Carrier: m.text(dir+"/carrier") == "1"}
		client := m.dhcpClient(e.Name())
		for _, a := range all {
			if a.link == e.Name() && a.Prefix.Addr().IsGlobalUnicast() {
				a.Dynamic = a.Dynamic || client && a.Prefix.Addr().Is4()
				l.Addresses = append(l.Addresses, a.ParityAddress)
			}
		}
		links = append(links, l)
	}
	return links, nil
}

// dhcpClient reports whether a DHCP client works for this interface: one that
// gives no lifetime to the address leaves it looking like a static one.
func (m parityMachine) dhcpClient(link string) bool {
	files, _ := filepath.Glob(m.path("proc/[0-9]*/cmdline")) // the pattern is right
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		args := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		switch filepath.Base(args[0]) {
		case "dhclient", "dhcpcd", "udhcpc":
			if slices.Contains(args[1:], link) {
				return true
			}
		}
	}
	return false
}

// nameServers reads those that are really asked: a stub of systemd-resolved or
// of NetworkManager's own cache stands for others.
func (m parityMachine) nameServers() []netip.Addr {
	servers := parseNameServers(m.text("etc/resolv.conf"))
	if !slices.ContainsFunc(servers, netip.Addr.IsLoopback) {
		return servers
	}
	for _, name := range []string{"run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf"} {
		if real := parseNameServers(m.text(name)); len(real) > 0 {
			return real
		}
	}
	return servers
}

// parseNameServers reads resolv.conf(5). The resolver uses the first three.
func parseNameServers(text string) []netip.Addr {
	var servers []netip.Addr
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" || len(servers) == 3 {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && !slices.Contains(servers, a) {
			servers = append(servers, a)
		}
	}
	return servers
}

// users reads the accounts of people, with a digest of each password's hash:
// the hash itself has no business in abboot.
func (m parityMachine) users() ([]ParityUser, error) {
	hashes := map[string]string{}
	err := m.lines("etc/shadow", func(f []string) {
		if len(f) >= 2 {
			hashes[f[0]] = f[1]
		}
	})
	if err != nil {
		return nil, err
	}
	var users []ParityUser
	err = m.lines("etc/passwd", func(f []string) {
		uid, err := strconv.Atoi(passwdField(f, 2))
		if err != nil || uid != 0 && uid < firstHuman || uid == nobody || uid == nobody16 {
			return
		}
		u := ParityUser{Name: f[0], UID: uid}
		if h := hashes[f[0]]; h != "" && !strings.ContainsAny(h[:1], "!*") {
			sum := sha256.Sum256([]byte(h))
			u.Hash = hex.EncodeToString(sum[:])
			if rest, ok := strings.CutPrefix(h, "$"); ok {
				u.Format, _, _ = strings.Cut(rest, "$")
			}
		}
		users = append(users, u)
	})
	return users, err
}

// oldCrypt reports whether libcrypt is that of glibc (EL7), and not libxcrypt.
func (m parityMachine) oldCrypt() bool {
	for _, dir := range []string{"lib64", "lib", "lib/x86_64-linux-gnu"} {
		if found, _ := filepath.Glob(m.path(dir + "/libcrypt-2.*.so")); len(found) > 0 { // the pattern is right
			return true
		}
	}
	return false
}

// Accounts of people, by login.defs(5) of EL7 and later.
const (
	firstHuman = 1000
	nobody     = 65534
	nobody16   = 65535
)

// lines calls visit with the fields of each line of an account file.
func (m parityMachine) lines(name string, visit func([]string)) error {
	f, err := os.Open(m.path(name))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("reading the accounts: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if fields := strings.Split(s.Text(), ":"); fields[0] != "" {
			visit(fields)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("reading the accounts: %w", err)
	}
	return nil
}

// passwdField returns field i, or "".
func passwdField(fields []string, i int) string {
	if i < len(fields) {
		return fields[i]
	}
	return ""
}
