package preserve

import (
	"slices"
	"strings"
)

// sshdTransfer brings the settings of one system's sshd into another's.
type sshdTransfer struct {
	planner   *Planner
	was, will *sshdConfig
	old, new  Release
	shipped   map[string]bool // file → is as the old image had it

	lines   []string // what to write, outside of Match
	carried []string // its keywords
	matches []string // Match blocks
	unset   []string // keywords of which the new system's own lines must go
}

func (t *sshdTransfer) run() error {
	for _, f := range t.was.files {
		t.shipped[f] = t.planner.asShipped(f)
	}
	for _, key := range t.keys() {
		if err := t.transfer(key); err != nil {
			return err
		}
	}
	if err := t.matchBlocks(); err != nil {
		return err
	}
	if len(t.lines) == 0 && len(t.matches) == 0 && len(t.unset) == 0 {
		t.planner.Note(Kept, absolute(sshdMain), "nothing to carry: sshd of the new system does the same")
		return nil
	}
	if err := t.write(); err != nil {
		return err
	}
	return t.verify()
}

// keys are the keywords to look at: those that decide about logins, and all
// others that the old system sets.
func (t *sshdTransfer) keys() []string {
	keys := slices.Clone(sshdLogin)
	for _, s := range t.was.settings {
		if s.match == "" && !slices.Contains(keys, s.key) {
			keys = append(keys, s.key)
		}
	}
	slices.SortStableFunc(keys, func(a, b string) int { return sshdRank(a) - sshdRank(b) })
	return keys
}

// transfer looks at one keyword.
func (t *sshdTransfer) transfer(key string) error {
	was, will := t.was.get(key), t.will.get(key)
	said := slices.ContainsFunc(was, func(s sshdSetting) bool { return !t.shipped[s.file] })
	if !said && t.untouched() {
		// The customer never said anything: the new image decides. What it
		// leaves to the default of its sshd is no decision: that must not
		// lock anybody out.
		if len(will) > 0 || !slices.Contains(sshdLogin, key) {
			return nil
		}
	}
	if key == "hostkey" && !slices.ContainsFunc(was, customKey) {
		return nil // every sshd finds these by itself
	}
	if !t.portable(key, was) {
		return nil
	}
	if key == "subsystem" {
		was = t.subsystems(was, will)
	}
	is, shall := t.effective(key, was, t.old), t.effective(key, will, t.new)
	if is == shall {
		return nil
	}
	if !slices.Contains(sshdLogin, key) && !said && len(was) == 0 {
		return nil
	}
	if slices.Contains(sshdLists, key) && len(will) > 0 {
		t.unset = append(t.unset, key)
	}
	t.carried = append(t.carried, key)
	if len(was) == 0 {
		if v := sshdDefault(key, t.old); v != "" {
			was = []sshdSetting{{key: key, word: sshdWords[key], value: v}}
		}
	}
	for _, s := range was {
		t.lines = append(t.lines, t.word(s)+" "+s.value)
		t.planner.Note(Carried, "sshd", "%s %s", t.word(s), s.value)
		if err := t.carryNamed(s); err != nil {
			return err
		}
		if key == "port" {
			t.selinuxPort(s.value)
		}
	}
	if len(was) == 0 {
		t.planner.Note(Carried, "sshd", "without %s, which the new image sets", will[0].word)
	}
	return nil
}

// customKey tells whether a HostKey line names a file of the site's own.
func customKey(s sshdSetting) bool {
	return !Match("/etc/ssh/ssh_host_*_key", s.value)
}

// untouched tells whether all of the old configuration is known to be the old
// image's.
func (t *sshdTransfer) untouched() bool {
	for _, f := range t.was.files {
		if !t.shipped[f] {
			return false
		}
	}
	return true
}

// effective is what a keyword amounts to.
func (t *sshdTransfer) effective(key string, list []sshdSetting, r Release) string {
	if len(list) == 0 {
		if v := sshdDefault(key, r); v != "" {
			list = []sshdSetting{{key: key, value: v}}
		}
	}
	return normals(list)
}

// portable tells, with a note, whether the new sshd knows a keyword.
func (t *sshdTransfer) portable(key string, was []sshdSetting) bool {
	same := t.old.Major == t.new.Major && t.old.Major != 0
	switch {
	case slices.Contains(sshdLogin, key), slices.Contains(sshdKnown, key):
		return true
	case key == "subsystem":
		return true
	case slices.Contains(sshdGone, key):
		t.planner.Note(Dropped, "sshd", "%s: has no effect any more", was[0].word)
		return false
	case same:
		return true
	case slices.Contains(sshdAlgorithms, key):
		t.planner.Note(Warning, "sshd", "%s is not carried: the new system has its own list of algorithms", was[0].word)
		return false
	}
	t.planner.Note(Warning, "sshd", "%s %.80q is not carried: not known to be the same in the new system", was[0].word, was[0].value)
	return false
}

// subsystems are those of the old system whose programs the new one has. For
// sftp it has its own, if need be.
func (t *sshdTransfer) subsystems(was, will []sshdSetting) []sshdSetting {
	var list []sshdSetting
	for _, s := range was {
		args := splitArgs(s.value)
		if len(args) < 2 || args[1] == "internal-sftp" || t.runs(args[1]) {
			list = append(list, s)
			continue
		}
		i := slices.IndexFunc(will, func(n sshdSetting) bool { return splitArgs(n.value)[0] == args[0] })
		if i >= 0 {
			list = append(list, will[i])
			continue
		}
		t.planner.Note(Warning, "sshd", "Subsystem %.80q is not carried: its program is not in the new system", s.value)
	}
	return list
}

// runs tells whether the new system has a program.
func (t *sshdTransfer) runs(program string) bool {
	name, err := Clean(program)
	if err != nil || !strings.HasPrefix(program, "/") {
		return false
	}
	real, err := Resolve(t.planner.new, name)
	return err == nil && Exists(t.planner.new, real)
}

// sshdWords are keywords as people write them, where the old system does not.
var sshdWords = map[string]string{
	"port": "Port", "addressfamily": "AddressFamily", "permitrootlogin": "PermitRootLogin", "passwordauthentication": "PasswordAuthentication",
	"pubkeyauthentication": "PubkeyAuthentication", "permitemptypasswords": "PermitEmptyPasswords", "authorizedkeysfile": "AuthorizedKeysFile",
	"challengeresponseauthentication": "ChallengeResponseAuthentication",
}

// word is the name of a keyword for the new sshd.
func (t *sshdTransfer) word(s sshdSetting) string {
	switch s.key {
	case "challengeresponseauthentication":
		if t.new.Major >= 9 {
			return "KbdInteractiveAuthentication"
		}
		return "ChallengeResponseAuthentication"
	case "pubkeyauthentication":
		return "PubkeyAuthentication" // not DSAAuthentication
	case "tcpkeepalive":
		return "TCPKeepAlive"
	}
	return s.word
}

// matchBlocks collects the Match blocks of the old system.
func (t *sshdTransfer) matchBlocks() error {
	block := 0
	for _, s := range t.was.settings {
		if s.match == "" || t.shipped[s.file] {
			continue
		}
		if !t.portable(s.key, []sshdSetting{s}) || s.key == "subsystem" {
			continue
		}
		if s.block != block {
			block = s.block
			t.matches = append(t.matches, "Match "+s.match)
			t.planner.Note(Carried, "sshd", "Match %s", s.match)
		}
		t.matches = append(t.matches, "\t"+t.word(s)+" "+s.value)
		if err := t.carryNamed(s); err != nil {
			return err
		}
	}
	return nil
}
