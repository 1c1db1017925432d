package preserve

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// firewall carries what may come in: firewalld's zones, the tables of the
// iptables services, nftables.
type firewall struct{}

func (firewall) Name() string { return "firewall" }

var firewalldFiles = []string{
	"etc/firewalld/zones/*.xml", "etc/firewalld/services/*.xml", "etc/firewalld/ipsets/*.xml", "etc/firewalld/policies/*.xml",
	"etc/firewalld/icmptypes/*.xml", "etc/firewalld/helpers/*.xml", "etc/firewalld/direct.xml", "etc/firewalld/lockdown-whitelist.xml",
}

const firewalldConf = "etc/firewalld/firewalld.conf"

// ruleService is a service that loads rules from files.
type ruleService struct {
	unit  string
	files []string
	check func(string) error
}

var ruleServices = []ruleService{
	{"iptables.service", []string{"etc/sysconfig/iptables", "etc/sysconfig/iptables-config"}, checkIptables},
	{"ip6tables.service", []string{"etc/sysconfig/ip6tables", "etc/sysconfig/ip6tables-config"}, checkIptables},
	{"ebtables.service", []string{"etc/sysconfig/ebtables", "etc/sysconfig/ebtables-config"}, nil},
	{"nftables.service", []string{"etc/sysconfig/nftables.conf", "etc/nftables/*"}, nil},
}

func (firewall) Sources(Tree) []string {
	list := append([]string{firewalldConf}, firewalldFiles...)
	for _, unit := range append([]string{"firewalld.service"}, firewallUnits()...) {
		list = append(list, unitLinks+"/"+unit, unitLinks+"/*.wants/"+unit, unitLinks+"/*.requires/"+unit, "usr/lib/systemd/system/"+unit)
	}
	for _, s := range ruleServices {
		list = append(list, s.files...)
	}
	return list
}

func firewallUnits() []string {
	var list []string
	for _, s := range ruleServices {
		list = append(list, s.unit)
	}
	return list
}

func (f firewall) Plan(_, _ Tree, p *Planner) error {
	p.Claim("etc/firewalld/**")
	if err := f.firewalld(p); err != nil {
		return err
	}
	for _, s := range ruleServices {
		p.Claim(s.files...)
		if err := f.rules(p, s); err != nil {
			return err
		}
	}
	return nil
}

func (f firewall) firewalld(p *Planner) error {
	const unit = "firewalld.service"
	if !unitInstalled(p.old, unit) {
		return nil
	}
	on, err := unitEnabled(p.old, unit)
	if err != nil {
		return err
	}
	if !unitInstalled(p.new, unit) {
		if on && !unitMasked(p.old, unit) && !p.Dropped(firewalldConf) {
			return p.Refuse("firewalld", "runs on the old system, and the new one does not have it: the device would be without its rules",
				"have the vendor add it to the image, or give it up with [handlers] firewall = false")
		}
		return nil
	}
	if err := f.firewalldConf(p); err != nil {
		return err
	}
	found, err := p.Find(firewalldFiles...)
	if err != nil {
		return err
	}
	for _, e := range found {
		carried, err := p.carryFile(e)
		if err != nil {
			return err
		}
		if carried && e.Kind == KindFile {
			if err := f.checkXML(p, e); err != nil {
				return err
			}
		}
	}
	_, err = p.carryUnitState(unit)
	return err
}

// checkXML refuses a file that firewalld could not read: it would start
// without that zone.
func (firewall) checkXML(p *Planner, e Entry) error {
	b, err := ReadFile(p.old, e.Path, maxConfig)
	if err != nil {
		return failed("reading the firewall's rules", err)
	}
	root, err := xmlRoot(string(b))
	if err == nil {
		want := map[string]string{"zones": "zone", "services": "service", "ipsets": "ipset", "policies": "policy", "icmptypes": "icmptype", "helpers": "helper"}
		if kind, ok := want[path.Base(path.Dir(e.Path))]; ok && root != kind {
			err = fmt.Errorf("<%.20s> instead of <%s>", root, kind)
		}
	}
	if err != nil {
		return p.Refuse(absolute(e.Path), fmt.Sprintf("firewalld could not read it: %v", err),
			"repair it (firewall-cmd --check-config), or leave the file out with [[drop]] in /etc/abupdate/preserve.d")
	}
	return nil
}

// xmlRoot reads a whole document and returns the name of its element.
// encoding/xml expands no entities but XML's own five.
func xmlRoot(text string) (string, error) {
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	root := ""
	for {
		t, err := d.Token()
		if err == io.EOF {
			if root == "" {
				return "", errors.New("no element")
			}
			return root, nil
		}
		if err != nil {
			return "", err
		}
		if s, ok := t.(xml.StartElement); ok && root == "" {
			root = s.Name.Local
		}
	}
}

// firewalldKeys are the settings of firewalld.conf that are the customer's
// matter and mean the same in every version.
var firewalldKeys = []string{"DefaultZone", "LogDenied", "Lockdown", "CleanupOnExit", "IPv6_rpfilter"}

func (firewall) firewalldConf(p *Planner) error {
	if p.Dropped(firewalldConf) {
		return nil
	}
	old, there, err := p.oldText(firewalldConf)
	if err != nil || !there {
		return err
	}
	if p.asShipped(firewalldConf) {
		p.Note(Kept, absolute(firewalldConf), "never changed on this device")
		return nil
	}
	new, _, err := treeText(p.new, firewalldConf)
	if err != nil {
		return err
	}
	text := new
	for _, key := range firewalldKeys {
		was, ok := shellValue(old, key)
		will, has := shellValue(new, key)
		if !ok || was == will || strings.Trim(was, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			continue
		}
		if key == "IPv6_rpfilter" && has && (was == "yes" || was == "no") && will != "yes" && will != "no" {
			continue // EL9 has more words for it, and other defaults
		}
		text = setShellValue(text, key, was)
		p.Note(Carried, absolute(firewalldConf), "%s=%s", key, was)
	}
	if text == new {
		return nil
	}
	return p.rewrite(firewalldConf, text, 0o644)
}

// rules carries the files of a service that loads rules, and whether it runs.
func (firewall) rules(p *Planner, s ruleService) error {
	on, err := unitEnabled(p.old, s.unit)
	if err != nil {
		return err
	}
	on = on && !unitMasked(p.old, s.unit) && unitInstalled(p.old, s.unit)
	found, err := p.Find(s.files...)
	if err != nil {
		return err
	}
	if !unitInstalled(p.new, s.unit) {
		if on && len(found) > 0 {
			return p.Refuse(s.unit, "loads the firewall's rules on the old system, and the new one does not have it: the device would be without them",
				"have the vendor add it to the image, move the rules to firewalld, or give them up with [handlers] firewall = false")
		}
		return nil
	}
	for _, e := range found {
		if e.Kind == KindDir {
			continue
		}
		carried, err := p.carryFile(e)
		if err != nil {
			return err
		}
		if carried && s.check != nil && !strings.HasSuffix(e.Path, "-config") {
			text, _, err := p.oldText(e.Path)
			if err != nil {
				return err
			}
			if err := s.check(text); err != nil {
				p.Note(Warning, absolute(e.Path), "would not be loaded, on the old system neither: %v", err)
			}
		}
	}
	_, err = p.carryUnitState(s.unit)
	return err
}

// checkIptables looks at the shape of iptables-save's output.
func checkIptables(text string) error {
	table := ""
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '*':
			if table != "" {
				return fmt.Errorf("line %d: table %s has no COMMIT", n, table)
			}
			table = line
		case table == "":
			return fmt.Errorf("line %d: outside of a table", n)
		case line == "COMMIT":
			table = ""
		case !slices.Contains([]byte{':', '-', '['}, line[0]):
			return fmt.Errorf("line %d: neither chain nor rule", n)
		}
	}
	if table != "" {
		return fmt.Errorf("table %s has no COMMIT", table)
	}
	return nil
}
