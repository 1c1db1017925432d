package preserve

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// write plans the files: one that sorts before all others where the new
// system includes a directory first, else lines at the top of the main file,
// where the first value counts, and Match blocks at its end.
func (t *sshdTransfer) write() error {
	p := t.planner
	mode, uid, gid := modeOf(p.new, sshdMain, 0o600)
	main, _, err := treeText(p.new, sshdMain)
	if err != nil {
		return err
	}
	text := strings.Join(t.lines, "\n") + "\n"
	blocks := strings.Join(t.matches, "\n")
	edited := main
	if t.will.include {
		head := "# Carried over by abupdate from the system before. The first value counts:\n# what is set here wins over all other files.\n"
		if blocks != "" {
			text += "\n" + blocks + "\n"
		}
		if err := p.Write(sshdCarried, []byte(head+text), 0o600, 0, 0); err != nil {
			return err
		}
	} else {
		edited = sshdBegin + "\n" + text + sshdEnd + "\n\n" + strings.TrimSuffix(main, "\n") + "\n"
		if blocks != "" {
			edited += "\n" + sshdBegin + "\n" + blocks + "\n" + sshdEnd + "\n"
		}
	}
	for _, f := range t.will.files {
		body := edited
		if f != sshdMain {
			if body, _, err = treeText(p.new, f); err != nil {
				return err
			}
		}
		was := body
		if f == sshdMain {
			was = main
		}
		if body = t.comment(f, body); body != was && f != sshdOptions {
			m, u, g := mode, uid, gid
			if f != sshdMain {
				m, u, g = modeOf(p.new, f, mode)
			}
			if err := p.Write(f, []byte(body), m, u, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// comment takes the new system's own lines of list keywords out: there every
// line counts, not the first.
func (t *sshdTransfer) comment(file, text string) string {
	if len(t.unset) == 0 || path.Clean(file) == sshdCarried {
		return text
	}
	var out strings.Builder
	ours, inMatch := false, false
	for line := range strings.Lines(text) {
		switch strings.TrimSpace(line) {
		case sshdBegin:
			ours = true
		case sshdEnd:
			ours = false
		}
		s, ok := parseSSHDLine(line)
		if ok && s.key == "match" {
			inMatch = true // to the end of the file
		}
		if ok && !ours && !inMatch && slices.Contains(t.unset, s.key) {
			line = "# abupdate: not on this device: " + line
		}
		out.WriteString(line)
	}
	return out.String()
}

// verify reads the result as the new sshd would.
func (t *sshdTransfer) verify() error {
	result, err := readSSHD(t.planner.Result())
	if err != nil {
		return err
	}
	for _, key := range t.carried {
		is, shall := t.effective(key, result.get(key), t.new), t.effective(key, t.was.get(key), t.old)
		if is != shall && key != "subsystem" { // those are not as they were, on purpose
			return t.planner.Refuse("sshd", fmt.Sprintf("%s would be %s in the new system instead of %s", key, is, shall),
				"set it in /etc/ssh/sshd_config itself, or switch the handler off ([handlers] ssh = false)")
		}
	}
	return nil
}
