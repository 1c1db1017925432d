package preserve

import "strings"

// hostname carries the names of the machine and of its neighbours.
type hostname struct{}

func (hostname) Name() string { return "hostname" }

func (hostname) Sources(Tree) []string {
	return []string{"etc/hostname", "etc/hosts", "etc/machine-info", "etc/machine-id", "var/lib/dbus/machine-id", "etc/sysconfig/network"}
}

func (h hostname) Plan(old, _ Tree, p *Planner) error {
	p.Claim("etc/hostname", "etc/hosts", "etc/machine-info", "etc/machine-id")
	if err := h.name(p); err != nil {
		return err
	}
	if err := h.machineID(p); err != nil {
		return err
	}
	return p.carryChanged("etc/hosts", "etc/machine-info")
}

func (hostname) name(p *Planner) error {
	if p.Dropped("etc/hostname") {
		return nil
	}
	text, there, err := p.oldText("etc/hostname")
	if err != nil {
		return err
	}
	from := "etc/hostname"
	name := ""
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			name = line
			break
		}
	}
	if name == "" { // as EL6 had it, and as it stays after an upgrade from there
		from = "etc/sysconfig/network"
		if text, there, err = p.oldText(from); err != nil {
			return err
		}
		name, _ = shellValue(text, "HOSTNAME")
	}
	if name == "" || !there {
		p.Note(Kept, "/etc/hostname", "the old system has no name of its own")
		return nil
	}
	if !validHostname(name) {
		p.Note(Warning, "/etc/hostname", "%.80q is no host name; the new system's default stays", name)
		return nil
	}
	if from == "etc/hostname" && p.asShipped(from) {
		p.Note(Kept, "/etc/hostname", "never changed on this device")
		return nil
	}
	p.Note(Carried, "/etc/hostname", "%s", name)
	return p.Write("etc/hostname", []byte(name+"\n"), 0o644, 0, 0)
}

// asShipped tells whether a file is known to be the old image's default.
func (p *Planner) asShipped(name string) bool {
	o, err := p.originOf(name)
	return err == nil && o == asShipped && !p.newTouched(name)
}

// validHostname takes what the kernel and systemd take: labels of letters,
// digits, - and _, 64 bytes in all.
func validHostname(name string) bool {
	if len(name) == 0 || len(name) > 64 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// machineID carries the machine's identity: DHCP servers know the client by
// it, and the journal is named after it.
func (hostname) machineID(p *Planner) error {
	if p.Dropped("etc/machine-id") {
		return nil
	}
	id := p.host.MachineID
	if id == "" {
		p.Note(Warning, "/etc/machine-id", "the old system has none; DHCP servers may see a new client")
		return nil
	}
	p.Note(Carried, "/etc/machine-id", "%s", id)
	return p.Write("etc/machine-id", []byte(id+"\n"), 0o444, 0, 0)
}

func validMachineID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != ""
}
