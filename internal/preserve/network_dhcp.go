package preserve

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// A DHCP server that knows a client by its identifier gives another address
// to another identifier. So what the old client sent is told to the new one.

var (
	leaseClientID = regexp.MustCompile(`(?m)^\s*option dhcp-client-identifier ([^;]+);`)
	leaseDUID     = regexp.MustCompile(`(?m)^\s*default-duid ("(?:[^"\\]|\\.)*");`)
	leaseDUID6    = regexp.MustCompile(`(?m)^\s*option dhcp6\.client-id ([^;]+);`)
	internalID    = regexp.MustCompile(`(?m)^CLIENTID=([0-9a-fA-F]+)\s*$`)
	hexBytes      = regexp.MustCompile(`^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2})+$`)
)

// identity fills in the DHCP identity of profiles that say none.
func (s *netState) identity(files netFiles, note noteFunc) error {
	for _, p := range s.profiles {
		if !p.active() || strings.HasPrefix(p.File, keyfileDir) {
			continue
		}
		if err := p.dhclientConf(files); err != nil {
			return err
		}
		if p.V4.Method == methodAuto && p.V4.ClientID == "" {
			p.leaseV4(files, note)
		}
		if p.V6.dynamic() && p.V6.DUID == "" {
			p.V6.DUID = leasedDUID(files)
		}
	}
	return nil
}

// leaseV4 takes the client identifier from the interface's lease.
func (p *netProfile) leaseV4(files netFiles, note noteFunc) {
	found := false
	for _, name := range leases(files, p.Name) {
		data := string(files.data(name))
		if m := internalID.FindStringSubmatch(data); m != nil {
			p.V4.ClientID = colons(m[1])
			return
		}
		all := leaseClientID.FindAllStringSubmatch(data, -1)
		if len(all) > 0 {
			if id := dhclientBytes(all[len(all)-1][1]); id != "" {
				p.V4.ClientID = id
				return
			}
		}
		found = found || strings.Contains(data, "lease {")
	}
	if found {
		note(Warning, absolute(p.File), "the old DHCP client sends no client identifier, NetworkManager sends the MAC address as one: a server that keeps leases by identifier may give %s another address", p.label())
	}
}

// leases are an interface's lease files of both clients.
func leases(files netFiles, device string) []string {
	var list []string
	for _, dir := range []string{"var/lib/NetworkManager", "var/lib/dhclient"} {
		for _, name := range files.glob(dir, "") {
			base := path.Base(name)
			if device != "" && !strings.HasPrefix(base, "dhclient6") && (strings.HasSuffix(base, "-"+device+".lease") || strings.HasSuffix(base, "-"+device+".leases")) {
				list = append(list, name)
			}
		}
	}
	return list
}

// leasedDUID is the machine's DHCPv6 identifier, as dhclient keeps it.
func leasedDUID(files netFiles) string {
	for _, dir := range []string{"var/lib/dhclient", "var/lib/NetworkManager"} {
		for _, name := range files.glob(dir, "dhclient6") {
			data := string(files.data(name))
			for _, re := range []*regexp.Regexp{leaseDUID, leaseDUID6} {
				if m := re.FindStringSubmatch(data); m != nil {
					if id := dhclientBytes(m[1]); id != "" {
						return id
					}
				}
			}
		}
	}
	return ""
}

// dhclientBytes reads bytes in dhclient's two forms, hexadecimal with colons
// or a string with octal escapes, and returns them in NetworkManager's.
func dhclientBytes(s string) string {
	s = strings.TrimSpace(s)
	if hexBytes.MatchString(s) {
		var out []string
		for _, b := range strings.Split(s, ":") {
			n, _ := strconv.ParseUint(b, 16, 8) // two digits at most
			out = append(out, fmt.Sprintf("%02x", n))
		}
		return strings.Join(out, ":")
	}
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return ""
	}
	s = s[1 : len(s)-1]
	var out []string
	for i := 0; i < len(s); i++ {
		c := uint64(s[i])
		if s[i] == '\\' && i+1 < len(s) {
			i++
			c = uint64(s[i])
			if i+2 < len(s) {
				if n, err := strconv.ParseUint(s[i:i+3], 8, 8); err == nil {
					c, i = n, i+2
				}
			}
		}
		out = append(out, fmt.Sprintf("%02x", c))
	}
	if len(out) < 2 {
		return "" // NetworkManager takes bytes only with a colon between them
	}
	return strings.Join(out, ":")
}

// colons puts colons between the bytes of a hexadecimal string.
func colons(s string) string {
	if len(s)%2 != 0 || len(s) < 4 {
		return ""
	}
	var out []string
	for i := 0; i < len(s); i += 2 {
		out = append(out, strings.ToLower(s[i:i+2]))
	}
	return strings.Join(out, ":")
}

var sendID = regexp.MustCompile(`^send\s+dhcp-client-identifier\s+(.+)$`)

// dhclientConf takes the identifier from dhclient's own configuration, and
// refuses what else it says: NetworkManager does not read it.
func (p *netProfile) dhclientConf(files netFiles) error {
	if p.V4.Method != methodAuto && !p.V6.dynamic() {
		return nil
	}
	for _, name := range []string{"etc/dhclient.conf", "etc/dhcp/dhclient.conf", "etc/dhclient-" + p.Name + ".conf", "etc/dhcp/dhclient-" + p.Name + ".conf"} {
		var text strings.Builder
		for line := range strings.Lines(string(files.data(name))) {
			line, _, _ = strings.Cut(line, "#")
			text.WriteString(line + " ")
		}
		for _, statement := range strings.Split(text.String(), ";") {
			statement = strings.TrimSpace(statement)
			if statement == "" {
				continue
			}
			m := sendID.FindStringSubmatch(statement)
			id := ""
			if m != nil {
				id = dhclientBytes(m[1])
			}
			if id == "" {
				return refusal(absolute(name), "say it in the interface's own file, or carry it over by hand", "%.80q has no counterpart in NetworkManager", statement)
			}
			if p.V4.ClientID == "" {
				p.V4.ClientID = id
			}
		}
	}
	return nil
}
