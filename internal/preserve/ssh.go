package preserve

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// ssh carries the host keys, and the settings of sshd that decide who may log
// in and how.
type ssh struct{}

func (ssh) Name() string { return "ssh" }

func (ssh) Sources(old Tree) []string {
	list := []string{"etc/ssh/**", sshdOptions}
	c, err := readSSHD(old)
	if err != nil {
		return list // Plan will say what is wrong
	}
	for _, f := range c.files {
		list = append(list, literal(f))
	}
	for _, s := range c.settings {
		for _, name := range sshdFiles(s) {
			list = append(list, literal(name), literal(name)+".pub")
		}
		if s.key == "authorizedkeysfile" {
			list = append(list, authorizedPatterns(old, s.value)...)
		}
	}
	return list
}

func (h ssh) Plan(old, new Tree, p *Planner) error {
	p.Claim("etc/ssh/ssh_host_*", sshdMain, "etc/ssh/sshd_config.d/**", sshdOptions)
	was, err := readSSHD(old)
	if err != nil {
		return err
	}
	if err := h.hostKeys(p, was); err != nil {
		return err
	}
	if err := p.carryChanged("etc/ssh/ssh_known_hosts", "etc/ssh/ssh_known_hosts2", "etc/ssh/shosts.equiv"); err != nil {
		return err
	}
	if !Exists(old, sshdMain) || !Exists(new, sshdMain) {
		p.Note(Kept, absolute(sshdMain), "there is none in both systems")
		return nil
	}
	will, err := readSSHD(new)
	if err != nil {
		return err
	}
	t := &sshdTransfer{planner: p, was: was, will: will, old: ReadRelease(old), new: ReadRelease(new), shipped: map[string]bool{}}
	return t.run()
}

// sshdFiles are the files that a setting names by absolute paths and that
// belong to the configuration.
func sshdFiles(s sshdSetting) []string {
	switch s.key {
	case "hostkey", "hostcertificate", "trustedusercakeys", "revokedkeys", "banner", "authorizedprincipalsfile":
	default:
		return nil
	}
	var list []string
	for _, arg := range splitArgs(s.value) {
		if name, err := Clean(arg); err == nil && strings.HasPrefix(arg, "/") && name != "." && !strings.Contains(name, "%") {
			list = append(list, name)
		}
	}
	return list
}

// authorizedPatterns are the key files of all accounts that an
// AuthorizedKeysFile outside of .ssh names.
func authorizedPatterns(t Tree, value string) []string {
	a, err := readAccounts(t)
	if err != nil {
		return nil
	}
	var list []string
	for i := range a.users {
		for _, name := range authorizedFiles(value, &a.users[i]) {
			list = append(list, literal(name))
		}
	}
	return list
}

// authorizedFiles expands the tokens of AuthorizedKeysFile for one account.
func authorizedFiles(value string, u *user) []string {
	var list []string
	home, ok := homeOf(u)
	for _, arg := range splitArgs(value) {
		if arg == "none" || strings.HasPrefix(arg, ".ssh/") {
			continue // the users handler has carried that
		}
		name := strings.NewReplacer("%%", "%", "%u", u.name, "%h", "/"+home).Replace(arg)
		if !strings.HasPrefix(name, "/") {
			if !ok {
				continue
			}
			name = "/" + home + "/" + name
		}
		if clean, err := Clean(name); err == nil && clean != "." {
			list = append(list, clean)
		}
	}
	return list
}

// carryAuthorized plans the key files that lie outside of homes' .ssh.
func (t *sshdTransfer) carryAuthorized(value string) error {
	m, err := t.planner.accounts()
	if err != nil {
		return err
	}
	for i := range m.users {
		o := m.old.user(m.users[i].name)
		if o == nil {
			continue
		}
		for _, name := range authorizedFiles(value, o) {
			e, err := t.planner.old.Lstat(name)
			if err != nil || e.Kind != KindFile || e.Size > maxKeyFile || t.planner.Dropped(name) {
				continue
			}
			if err := t.planner.Copy(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// carryNamed plans the files that carried settings name.
func (t *sshdTransfer) carryNamed(s sshdSetting) error {
	if s.key == "authorizedkeysfile" {
		return t.carryAuthorized(s.value)
	}
	for _, name := range sshdFiles(s) {
		if s.key == "hostkey" || s.key == "hostcertificate" || t.planner.Dropped(name) {
			continue // carried with the other host keys
		}
		e, err := t.planner.old.Lstat(name)
		switch {
		case err == nil && e.Kind == KindFile && e.Size <= maxConfig:
			if err := t.planner.Copy(name); err != nil {
				return err
			}
		case !Exists(t.planner.new, name):
			t.planner.Note(Warning, absolute(name), "%s names it, and it is not in the new system", s.word)
		}
	}
	if s.key == "authorizedkeyscommand" {
		if args := splitArgs(s.value); len(args) > 0 && strings.HasPrefix(args[0], "/") {
			if name, err := Clean(args[0]); err == nil && !Exists(t.planner.Result(), name) {
				t.planner.Note(Warning, absolute(name), "%s names it, and it is not in the new system", s.word)
			}
		}
	}
	return nil
}

// sshdRank sorts keywords for the file that is written: as a person would.
func sshdRank(key string) int {
	order := []string{"port", "addressfamily", "listenaddress", "hostkey", "permitrootlogin", "passwordauthentication", "pubkeyauthentication"}
	if i := slices.Index(order, key); i >= 0 {
		return i
	}
	return len(order)
}

// selinuxPort warns of a port that the new system's policy may forbid.
func (t *sshdTransfer) selinuxPort(port string) {
	if port == "22" || selinuxSetting(t.planner.Result(), "SELINUX", "disabled") != "enforcing" {
		return
	}
	policy := selinuxSetting(t.planner.new, "SELINUXTYPE", "targeted")
	for _, dir := range []string{"var/lib/selinux", "etc/selinux"} {
		text, _, err := treeText(t.planner.new, path.Join(dir, policy, "active/ports.local"))
		if err == nil && strings.Contains(text, "ssh_port_t") && slices.Contains(strings.Fields(strings.ReplaceAll(text, "-", " ")), port) {
			return
		}
	}
	t.planner.Note(Warning, "sshd", "listens on port %s; SELinux is enforcing in the new system, and nothing there says that sshd may (ssh_port_t)", fmt.Sprintf("%.10q", port))
}
