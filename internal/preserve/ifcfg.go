package preserve

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Files under /etc/sysconfig are shell scripts that network-scripts sources,
// so every value could run a program. Here they are parsed: assignments with
// bash's quoting (Bash manual, "Quoting"), exactly as bash would read them,
// and whatever bash would have to evaluate ($VAR, $(...), `...`, ;, |, &, a
// command, a line continuation) is an error. Nothing is ever executed.

// shellVar is one assignment.
type shellVar struct {
	Name, Value string
	Line        int
}

// Bounds of a sysconfig file. The longest real ones have some 4 KB.
const (
	maxShellFile = 256 << 10
	maxShellVars = 2048
)

// errEvaluates is a value that only a shell could tell.
var errEvaluates = errors.New("needs a shell to be evaluated")

// parseShell reads the assignments of a sysconfig file, in their order.
func parseShell(data []byte) ([]shellVar, error) {
	if len(data) > maxShellFile {
		return nil, fmt.Errorf("more than %d bytes", maxShellFile)
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("contains a NUL byte")
	}
	var vars []shellVar
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		v, ok, err := parseShellLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if !ok {
			continue
		}
		if len(vars) == maxShellVars {
			return nil, fmt.Errorf("more than %d assignments", maxShellVars)
		}
		v.Line = n
		vars = append(vars, v)
	}
	return vars, nil
}

// parseShellLine reads one line; ok is false for an empty one or a comment.
func parseShellLine(line string) (v shellVar, ok bool, err error) {
	line = strings.TrimLeft(line, " \t")
	if line == "" || line[0] == '#' {
		return shellVar{}, false, nil
	}
	if strings.HasSuffix(line, "\r") {
		// bash makes it part of the value, NetworkManager drops it.
		return shellVar{}, false, errors.New("ends with a carriage return (the file was written on Windows?)")
	}
	name := line[:nameLen(line)]
	rest := line[len(name):]
	if name == "" || !strings.HasPrefix(rest, "=") {
		return shellVar{}, false, fmt.Errorf("%w: not an assignment", errEvaluates)
	}
	value, rest, err := shellWord(rest[1:])
	if err != nil {
		return shellVar{}, false, fmt.Errorf("%s: %w", name, err)
	}
	rest = strings.TrimLeft(rest, " \t")
	if rest != "" && rest[0] != '#' {
		// NAME=value command runs the command.
		return shellVar{}, false, fmt.Errorf("%s: %w: another word follows the value", name, errEvaluates)
	}
	return shellVar{Name: name, Value: value}, true, nil
}

// nameLen is the length of the shell name that s begins with.
func nameLen(s string) int {
	for i := range len(s) {
		c := s[i]
		alpha := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alpha && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

// shellWord reads the word that s begins with and returns what is left.
func shellWord(s string) (word, rest string, err error) {
	var b strings.Builder
	tilde := true // bash expands ~ at the start of a value and after a colon
	for s != "" {
		c := s[0]
		switch {
		case c == ' ' || c == '\t':
			return b.String(), s, nil
		case c == '~' && tilde:
			return "", "", fmt.Errorf("%w: unquoted ~", errEvaluates)
		case c == '$' && strings.HasPrefix(s, "$'"):
			var n int
			if n, err = ansiQuoted(&b, s[2:]); err != nil {
				return "", "", err
			}
			s = s[2+n:]
		case strings.IndexByte("$`;&|<>()", c) >= 0:
			return "", "", fmt.Errorf("%w: unquoted %q", errEvaluates, c)
		case c == '\\':
			if len(s) < 2 {
				return "", "", fmt.Errorf("%w: the line is continued", errEvaluates)
			}
			b.WriteByte(s[1])
			s = s[2:]
		case c == '\'':
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				return "", "", errors.New("unterminated quote")
			}
			b.WriteString(s[1 : 1+end])
			s = s[2+end:]
		case c == '"':
			var n int
			if n, err = doubleQuoted(&b, s[1:]); err != nil {
				return "", "", err
			}
			s = s[1+n:]
		default:
			b.WriteByte(c)
			s = s[1:]
		}
		tilde = c == ':'
	}
	return b.String(), "", nil
}

// doubleQuoted reads up to and with the closing quote, and returns how far.
func doubleQuoted(b *strings.Builder, s string) (int, error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return i + 1, nil
		case '$', '`':
			return 0, fmt.Errorf("%w: %q in double quotes", errEvaluates, c)
		case '\\':
			if i+1 == len(s) {
				return 0, fmt.Errorf("%w: the line is continued", errEvaluates)
			}
			// Only these lose their backslash within double quotes.
			if strings.IndexByte("$`\"\\", s[i+1]) < 0 {
				b.WriteByte('\\')
			}
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return 0, errors.New("unterminated quote")
}

var ansiEscapes = map[byte]byte{
	'a': 7, 'b': 8, 'e': 27, 'E': 27, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11,
	'\\': '\\', '\'': '\'', '"': '"', '?': '?',
}

// ansiQuoted reads the rest of $'…'.
func ansiQuoted(b *strings.Builder, s string) (int, error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'':
			return i + 1, nil
		case '\\':
			n, err := ansiEscape(b, s[i+1:])
			if err != nil {
				return 0, err
			}
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return 0, errors.New("unterminated quote")
}

// ansiEscape reads what follows a backslash in $'…'.
func ansiEscape(b *strings.Builder, s string) (int, error) {
	if s == "" {
		return 0, errors.New("unterminated quote")
	}
	if r, ok := ansiEscapes[s[0]]; ok {
		b.WriteByte(r)
		return 1, nil
	}
	base, skip, most := 16, 1, 0
	switch c := s[0]; {
	case c >= '0' && c <= '7':
		base, skip, most = 8, 0, 3
	case c == 'x':
		most = 2
	case c == 'u':
		most = 4
	case c == 'U':
		most = 8
	default:
		return 0, fmt.Errorf("unknown escape %q in $'…'", "\\"+s[:1])
	}
	end := skip
	for end < len(s) && end-skip < most && digitOf(s[end]) < base {
		end++
	}
	code, err := strconv.ParseUint(s[skip:end], base, 32)
	if err != nil || code == 0 {
		// bash ends the string at a NUL: nobody means that.
		return 0, fmt.Errorf("bad escape %q in $'…'", "\\"+s[:end])
	}
	if most > 3 {
		if code > utf8.MaxRune {
			return 0, fmt.Errorf("bad escape %q in $'…'", "\\"+s[:end])
		}
		b.WriteRune(rune(code))
	} else {
		b.WriteByte(byte(code))
	}
	return end, nil
}

// digitOf is the value of a hexadecimal digit, 16 for anything else.
func digitOf(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return 16
}

// shellVars is a parsed file by name; the last assignment counts.
type shellVars map[string]string

func varsOf(list []shellVar) shellVars {
	m := shellVars{}
	for _, v := range list {
		m[v.Name] = v.Value
	}
	return m
}

// isTrue and isFalse are those of /etc/init.d/functions. What is neither is
// the default of each key.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "t", "y", "yes", "on", "true", "1":
		return true
	}
	return false
}

func isFalse(s string) bool {
	switch strings.ToLower(s) {
	case "f", "n", "no", "off", "false", "0":
		return true
	}
	return false
}

// nmBool is NetworkManager's svParseBoolean: it knows neither on nor off.
func nmBool(s string, fallback bool) bool {
	switch strings.ToLower(s) {
	case "t", "y", "yes", "true", "1":
		return true
	case "f", "n", "no", "false", "0":
		return false
	}
	return fallback
}
