package preserve

import (
	"fmt"
	"path"
	"strings"
)

// sudo carries who may do what as whom.
type sudo struct{}

func (sudo) Name() string { return "sudo" }

const (
	sudoersMain = "etc/sudoers"
	sudoersDir  = "etc/sudoers.d"
)

func (sudo) Sources(old Tree) []string {
	list := []string{sudoersMain, sudoersDir + "/**"}
	for _, name := range sudoersIncluded(old) {
		list = append(list, literal(name), literal(name)+"/*")
	}
	return list
}

// sudoersIncluded are the files and directories that the main file includes,
// but for sudoers.d.
func sudoersIncluded(t Tree) []string {
	text, _, err := treeText(t, sudoersMain)
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(text) {
		_, name, ok := sudoersInclude(line)
		if !ok || strings.Contains(name, "%") {
			continue
		}
		if !strings.HasPrefix(name, "/") {
			name = "/etc/" + name
		}
		if clean, err := Clean(name); err == nil && clean != "." && clean != sudoersDir {
			list = append(list, clean)
		}
	}
	return list
}

// sudoersInclude reads "#include x", "@includedir x".
func sudoersInclude(line string) (dir bool, name string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] != '#' && line[0] != '@' {
		return false, "", false
	}
	word, name, _ := strings.Cut(line[1:], " ")
	if w, n, found := strings.Cut(line[1:], "\t"); found && len(w) < len(word) {
		word, name = w, n
	}
	name = strings.Trim(strings.TrimSpace(name), `"`)
	switch word {
	case "include":
		return false, name, name != ""
	case "includedir":
		return true, name, name != ""
	}
	return false, "", false
}

func (s sudo) Plan(old, new Tree, p *Planner) error {
	p.Claim(sudoersMain, sudoersDir+"/**")
	patterns := []string{sudoersMain, sudoersDir + "/**"}
	for _, name := range sudoersIncluded(old) {
		patterns = append(patterns, literal(name), literal(name)+"/*")
	}
	found, err := p.Find(patterns...)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Kind == KindDir {
			continue
		}
		if e.Kind != KindFile {
			p.Note(Dropped, absolute(e.Path), "a %s: sudo wants files", e.Kind)
			continue
		}
		if e.Size > maxConfig {
			return p.Refuse(absolute(e.Path), fmt.Sprintf("has %d bytes: no rules of sudo are that long", e.Size), "leave it out with [[drop]] in /etc/abupdate/preserve.d")
		}
		if is, err := p.Changed(e.Path); err != nil {
			return err
		} else if !is {
			p.Note(Kept, absolute(e.Path), "never changed on this device")
			continue
		}
		if err := s.carry(p, e); err != nil {
			return err
		}
	}
	if e, err := new.Lstat(sudoersDir); err == nil && e.Kind != KindDir {
		return p.Refuse("/"+sudoersDir, "is no directory in the new system", "")
	}
	return nil
}

// carry plans one file. sudo (up to EL8's) stops at the first mistake, and
// then nobody is root: what it could not read is refused.
func (sudo) carry(p *Planner, e Entry) error {
	b, err := ReadFile(p.old, e.Path, maxConfig)
	if err != nil {
		return failed("reading the rules of sudo", err)
	}
	ignored := path.Dir(e.Path) == sudoersDir && (strings.Contains(e.Name(), ".") || strings.HasSuffix(e.Name(), "~"))
	if line, err := checkSudoers(string(b)); err != nil && !ignored {
		return p.Refuse(fmt.Sprintf("/%s:%d", e.Path, line), fmt.Sprintf("sudo could not read it: %v", err),
			fmt.Sprintf("repair it (visudo -cf /%s), or leave the file out with [[drop]] in /etc/abupdate/preserve.d", e.Path))
	}
	p.Note(Carried, absolute(e.Path), "")
	// sudo insists on the owner, and on nobody else writing.
	return p.Write(e.Path, b, 0o440, 0, 0)
}
