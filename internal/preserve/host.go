package preserve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Host is what a plan needs to know of the machine, and what no file of an
// old system that is not running says for sure. Where there is no running
// system (an initramfs), it comes from where there was one: from a capture
// archive, or from ReadHost and the caller's own keeping. Its JSON form is
// part of the archive's.
type Host struct {
	// Links are the machine's interfaces. Nil: they are not known.
	Links []Link `json:"links,omitempty"`
	// MachineID is the systemd machine id that the machine went by. "": the
	// one of the old system's files.
	MachineID string `json:"machineId,omitempty"`
}

// Link is one physical network interface of the machine. It tells which MAC
// address a name stands for when no file does.
type Link struct {
	Name string `json:"name"`
	MAC  string `json:"mac"` // the permanent address: "52:54:00:12:34:56"
}

// ReadHost reads the facts of the system that runs from a tree that has its
// /sys: SlotTree or DirTree of "/". Any other tree gives what its files say,
// which is no interfaces.
func ReadHost(running Tree) Host {
	h := Host{Links: liveLinks(running)}
	for _, name := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} {
		text, _, err := treeText(running, name)
		if id := strings.TrimSpace(text); err == nil && validMachineID(id) {
			h.MachineID = id
			break
		}
	}
	return h
}

// check finds what no machine has: the facts may come from an archive.
func (h Host) check() error {
	if len(h.Links) > maxHostLinks {
		return fmt.Errorf("more than %d interfaces", maxHostLinks)
	}
	for _, l := range h.Links {
		if mac, err := parseMAC(l.MAC); err != nil || mac != l.MAC || !validIfname(l.Name) {
			return fmt.Errorf("no interface: %.40q with the address %.40q", l.Name, l.MAC)
		}
	}
	if h.MachineID != "" && !validMachineID(h.MachineID) {
		return fmt.Errorf("no machine id: %.40q", h.MachineID)
	}
	return nil
}

// maxHostLinks and maxHostText bound what an archive says of its machine.
const (
	maxHostLinks = 1024
	maxHostText  = 256 << 10
)

// complete fills in what the caller did not say: an archive says it from the
// day of its capture, any other tree from its files, a running one with /sys.
func (h Host) complete(old Tree) (Host, error) {
	if err := h.check(); err != nil {
		return h, &Refusal{Subject: "the machine", Reason: err.Error(), Next: "correct Policy.Host"}
	}
	from := []Host{ReadHost(old)}
	if a, ok := old.(*memTree); ok {
		from = []Host{a.host, from[0]}
	}
	for _, known := range from {
		if h.Links == nil {
			h.Links = known.Links
		}
		h.MachineID = cmp.Or(h.MachineID, known.MachineID)
	}
	return h, nil
}

// archiveFirst is the first entry of a capture archive.
type archiveFirst struct {
	Format int   `json:"format"`
	Host   *Host `json:"host,omitempty"`
}

func (h Host) encode() (string, error) {
	first := archiveFirst{Format: 1}
	if h.Links != nil || h.MachineID != "" {
		first.Host = &h
	}
	b, err := json.Marshal(first)
	return string(b) + "\n", err
}

// decodeHost reads the first entry. That it is in canonical form, the reader
// of the archive finds.
func decodeHost(text []byte) (Host, error) {
	var first archiveFirst
	if err := json.Unmarshal(text, &first); err != nil {
		return Host{}, err
	}
	if first.Format != 1 {
		return Host{}, fmt.Errorf("format %d; this version reads format 1", first.Format)
	}
	if first.Host == nil {
		return Host{}, nil
	}
	return *first.Host, first.Host.check()
}

// liveLinks reads the interfaces of the running system from its /sys; none
// when the tree is not a running one.
func liveLinks(t Tree) []Link {
	list, err := t.ReadDir("sys/class/net")
	if err != nil {
		return nil
	}
	var links []Link
	for _, e := range list {
		dir, err := Resolve(t, e.Path)
		if err != nil || !Exists(t, path.Join(dir, "device")) {
			continue // virtual
		}
		l := Link{Name: e.Name(), MAC: sysfs(t, path.Join(dir, "bonding_slave/perm_hwaddr"))}
		// 0: the address is the card's own (NET_ADDR_PERM). A port of a bond
		// has the bond's, a cloned one somebody's choice.
		if l.MAC == "" && sysfs(t, path.Join(dir, "addr_assign_type")) == "0" {
			l.MAC = sysfs(t, path.Join(dir, "address"))
		}
		if mac, err := parseMAC(l.MAC); err == nil && validIfname(l.Name) {
			l.MAC = mac
			links = append(links, l)
		}
	}
	return links
}

func sysfs(t Tree, name string) string {
	b, err := ReadFile(t, name, 4096)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
