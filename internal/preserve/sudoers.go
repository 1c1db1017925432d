package preserve

import (
	"errors"
	"fmt"
	"strings"
)

// checkSudoers looks for what makes sudo give up a sudoers(5) file: it knows
// the shape of each kind of line, not every option. It returns the number of
// the line with the mistake.
func checkSudoers(text string) (int, error) {
	n := 0
	start := 1
	var long strings.Builder
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		line = strings.TrimSuffix(line, "\r")
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' && r != '\f' }) {
			return n, errors.New("a control character")
		}
		if long.Len() == 0 {
			start = n
		}
		if rest, more := strings.CutSuffix(line, `\`); more && !strings.HasSuffix(rest, `\`) {
			long.WriteString(rest + " ")
			continue
		}
		long.WriteString(line)
		if err := checkSudoersLine(long.String()); err != nil {
			return start, err
		}
		long.Reset()
	}
	if long.Len() > 0 {
		return start, errors.New(`the last line ends with \`)
	}
	return 0, nil
}

func checkSudoersLine(line string) error {
	if _, _, include := sudoersInclude(line); include {
		return nil
	}
	line, err := withoutComment(line)
	if err != nil {
		return err
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return nil
	}
	word := line
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		word = line[:i]
	}
	switch {
	case word == "Defaults" || strings.HasPrefix(word, "Defaults@") || strings.HasPrefix(word, "Defaults:") ||
		strings.HasPrefix(word, "Defaults>") || strings.HasPrefix(word, "Defaults!"):
		if strings.TrimSpace(strings.TrimPrefix(line, "Defaults")) == "" {
			return errors.New("Defaults of nothing")
		}
		return nil
	case strings.HasSuffix(word, "_Alias"):
		return checkAlias(word, strings.TrimSpace(line[len(word):]))
	case word[0] == '@':
		return fmt.Errorf("%.40q is unknown", word)
	}
	return checkRule(line)
}

func checkAlias(word, definitions string) error {
	switch word {
	case "User_Alias", "Runas_Alias", "Host_Alias", "Cmnd_Alias", "Cmd_Alias":
	default:
		return fmt.Errorf("%.40q is unknown", word)
	}
	for _, d := range splitUnquoted(definitions, ':') {
		name, value, ok := strings.Cut(d, "=")
		name = strings.TrimSpace(name)
		if !ok {
			return fmt.Errorf("%s without =", word)
		}
		if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || name[0] < 'A' || name[0] > 'Z' {
			return fmt.Errorf("%.40q is no name of an alias", name)
		}
		if err := checkList(value); err != nil {
			return fmt.Errorf("%s %s: %w", word, name, err)
		}
	}
	return nil
}

// checkRule looks at "who where = (as whom) what, … : where = what".
func checkRule(line string) error {
	left, right, ok := cutUnquoted(line, '=')
	if !ok {
		return errors.New("a rule without =")
	}
	if len(strings.Fields(left)) < 2 {
		return errors.New("a rule needs who and where")
	}
	return checkCommands(right)
}

func checkCommands(s string) error {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "(") {
		end := strings.IndexByte(s, ')')
		if end < 0 {
			return errors.New("( without )")
		}
		s = strings.TrimSpace(s[end+1:])
	}
	if s == "" {
		return errors.New("a rule without a command")
	}
	if strings.Count(s, "(") > strings.Count(s, ")") {
		return errors.New("( without )")
	}
	return checkList(s)
}

func checkList(s string) error {
	for _, item := range splitUnquoted(s, ',') {
		if strings.TrimSpace(item) == "" {
			return errors.New("an empty place in a list")
		}
	}
	return nil
}

// withoutComment takes the comment away: from a # that begins a word and is
// no user id (#1000) on.
func withoutComment(line string) (string, error) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '#' && !quoted:
			if i+1 < len(line) && (line[i+1] >= '0' && line[i+1] <= '9' || line[i+1] == '-') {
				continue
			}
			return line[:i], nil
		}
	}
	if quoted {
		return "", errors.New(`" without its pair`)
	}
	return line, nil
}

// splitUnquoted splits at sep outside of quotes and parentheses, and not after
// a backslash.
func splitUnquoted(s string, sep byte) []string {
	var list []string
	for {
		part, rest, more := cutUnquoted(s, sep)
		list = append(list, part)
		if !more {
			return list
		}
		s = rest
	}
}

func cutUnquoted(s string, sep byte) (before, after string, found bool) {
	quoted := false
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case quoted:
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		case s[i] == sep && depth <= 0:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
