package preserve

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// sshdConfig is a system's sshd_config(5) with what it includes, in the order
// in which sshd reads it.
type sshdConfig struct {
	settings []sshdSetting
	files    []string // what was read
	include  bool     // the main file begins by including sshd_config.d
}

type sshdSetting struct {
	key   string // lower case, aliases resolved
	word  string // as it was written
	value string
	match string // of the Match block that it is in, "" for none
	block int    // number of that block
	file  string
}

const (
	sshdMain    = "etc/ssh/sshd_config"
	sshdDropins = "etc/ssh/sshd_config.d/*.conf"
	sshdOptions = "etc/sysconfig/sshd"
	// sshdCarried sorts before all others: the first value counts.
	sshdCarried = "etc/ssh/sshd_config.d/00-abupdate-carried.conf"
)

// Lines of ours in a main file that includes nothing.
const (
	sshdBegin = "# abupdate: carried over from here"
	sshdEnd   = "# abupdate: carried over to here"
)

var sshdAliases = map[string]string{
	"kbdinteractiveauthentication": "challengeresponseauthentication",
	"skeyauthentication":           "challengeresponseauthentication",
	"keepalive":                    "tcpkeepalive",
	"dsaauthentication":            "pubkeyauthentication",
	"pubkeyacceptedkeytypes":       "pubkeyacceptedalgorithms",
	"hostbasedacceptedkeytypes":    "hostbasedacceptedalgorithms",
}

// sshdLists are keywords of which every line counts, not the first only.
var sshdLists = []string{
	"port", "listenaddress", "allowusers", "denyusers", "allowgroups", "denygroups",
	"acceptenv", "hostkey", "hostcertificate", "subsystem", "setenv",
}

const maxIncludes = 16

func readSSHD(t Tree) (*sshdConfig, error) {
	c := &sshdConfig{}
	// What is on the command line comes before the file.
	if text, there, err := treeText(t, sshdOptions); err != nil {
		return nil, err
	} else if there {
		options, _ := shellValue(text, "OPTIONS")
		c.options(options)
		c.files = append(c.files, sshdOptions)
	}
	r := &sshdReader{tree: t, config: c}
	if err := r.read(sshdMain, 0, ""); err != nil {
		return nil, err
	}
	return c, nil
}

// options takes -p and -o of sshd's command line.
func (c *sshdConfig) options(line string) {
	f := strings.Fields(line)
	for i := 0; i < len(f); i++ {
		flag, arg := f[i], ""
		switch {
		case strings.HasPrefix(flag, "-p"), strings.HasPrefix(flag, "-o"):
			if arg = flag[2:]; arg == "" && i+1 < len(f) {
				i++
				arg = f[i]
			}
		default:
			continue
		}
		if flag[1] == 'p' {
			arg = "Port=" + arg
		}
		if s, ok := parseSSHDLine(arg); ok {
			s.file = sshdOptions
			c.settings = append(c.settings, s)
		}
	}
}

type sshdReader struct {
	tree   Tree
	config *sshdConfig
	block  int
}

func (r *sshdReader) read(name string, depth int, match string) error {
	if depth > maxIncludes {
		return &Refusal{Handler: "ssh", Subject: absolute(name), Reason: "too many Include lines in one another"}
	}
	text, there, err := treeText(r.tree, name)
	if err != nil || !there {
		return err
	}
	r.config.files = append(r.config.files, name)
	block := r.block
	for line := range strings.Lines(text) {
		s, ok := parseSSHDLine(line)
		if !ok {
			continue
		}
		switch s.key {
		case "match":
			match = s.value
			r.block++
			block = r.block
			continue
		case "include":
			if depth == 0 && match == "" && len(r.fromFiles()) == 0 && slices.Contains(strings.Fields(s.value), "/"+sshdDropins) {
				r.config.include = true
			}
			if err := r.includes(s.value, depth, match); err != nil {
				return err
			}
			continue
		}
		s.match, s.file = match, name
		if match != "" {
			s.block = block
		}
		r.config.settings = append(r.config.settings, s)
	}
	return nil
}

// fromFiles are the settings that do not come from the command line.
func (r *sshdReader) fromFiles() []sshdSetting {
	i := slices.IndexFunc(r.config.settings, func(s sshdSetting) bool { return s.file != sshdOptions })
	if i < 0 {
		return nil
	}
	return r.config.settings[i:]
}

// includes reads the files of an Include line. A Match in one of them ends
// with the file.
func (r *sshdReader) includes(patterns string, depth int, match string) error {
	for _, pattern := range splitArgs(patterns) {
		if !strings.HasPrefix(pattern, "/") {
			pattern = "/etc/ssh/" + pattern
		}
		clean, err := cleanPattern(pattern)
		if err != nil {
			continue // names nothing
		}
		found, err := Find(r.tree, clean)
		if err != nil {
			return failed("reading the configuration of sshd", err)
		}
		for _, e := range found {
			if strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(path.Base(clean), ".") {
				continue // as glob(3) has it
			}
			if e.Kind != KindFile && e.Kind != KindSymlink {
				continue
			}
			if err := r.read(e.Path, depth+1, match); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// parseSSHDLine reads "Keyword value…", "Keyword=value", with quotes.
func parseSSHDLine(line string) (sshdSetting, bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return sshdSetting{}, false
	}
	for i := range len(line) {
		if line[i] < ' ' && line[i] != '\t' || line[i] == 0x7f {
			return sshdSetting{}, false // sshd would take it for part of a value; we carry no such thing
		}
	}
	i := strings.IndexAny(line, " \t=")
	if i <= 0 {
		return sshdSetting{}, false
	}
	word := line[:i]
	value := strings.TrimLeft(line[i:], " \t")
	value = strings.TrimSpace(strings.TrimPrefix(value, "="))
	key := strings.ToLower(word)
	if a, ok := sshdAliases[key]; ok {
		key = a
	}
	return sshdSetting{key: key, word: word, value: value}, value != ""
}

// splitArgs splits a value at blanks that are not in double quotes.
func splitArgs(s string) []string {
	var args []string
	var arg strings.Builder
	quoted, any := false, false
	for _, c := range s {
		switch {
		case c == '"':
			quoted, any = !quoted, true
		case (c == ' ' || c == '\t') && !quoted:
			if any {
				args = append(args, arg.String())
			}
			arg.Reset()
			any = false
		default:
			arg.WriteRune(c)
			any = true
		}
	}
	if any {
		args = append(args, arg.String())
	}
	return args
}

// get returns the values of a keyword outside of Match blocks: all of a list
// keyword, else the first.
func (c *sshdConfig) get(key string) []sshdSetting {
	var list []sshdSetting
	for _, s := range c.settings {
		if s.key == key && s.match == "" {
			list = append(list, s)
			if !slices.Contains(sshdLists, key) {
				break
			}
		}
	}
	return list
}

// normal makes values comparable.
func (s sshdSetting) normal() string {
	v := strings.Join(splitArgs(s.value), " ")
	switch s.key {
	case "permitrootlogin":
		if v = strings.ToLower(v); v == "without-password" {
			v = "prohibit-password"
		}
	case "passwordauthentication", "pubkeyauthentication", "challengeresponseauthentication", "permitemptypasswords", "usepam", "usedns", "x11forwarding":
		v = strings.ToLower(v)
	}
	return v
}

func normals(list []sshdSetting) string {
	var values []string
	for _, s := range list {
		values = append(values, s.normal())
	}
	return fmt.Sprintf("%q", values)
}
