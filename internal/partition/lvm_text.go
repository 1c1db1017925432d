package partition

import (
	"strconv"
	"strings"
)

// maxDepth bounds the nesting of sections; LVM uses four levels.
const maxDepth = 8

// lvmSection is a section of LVM's text format: "name = value" and
// "name { … }" in any order. A field is a string, an int64, a []any of those,
// or a *lvmSection.
type lvmSection struct {
	names  []string // in the order of the text
	fields map[string]any
}

// parseText parses a text of the format of LVM2 libdm/libdm-config.c, as far
// as metadata use it.
func parseText(text []byte) (*lvmSection, error) {
	p := &lvmParser{text: text, line: 1}
	s := p.section(0)
	if p.err != nil {
		return nil, lvmErrorf("line %d: %v", p.line, p.err)
	}
	return s, nil
}

// lvmParser reads the text from front to back; the first error sticks.
type lvmParser struct {
	text []byte
	at   int
	line int
	err  error
}

type lvmSyntax string

func (e lvmSyntax) Error() string { return string(e) }

func (p *lvmParser) fail(what string) {
	if p.err == nil {
		p.err = lvmSyntax(what)
	}
}

// peek skips space and comments and returns the next byte, 0 at the end.
func (p *lvmParser) peek() byte {
	for ; p.at < len(p.text) && p.err == nil; p.at++ {
		switch c := p.text[p.at]; c {
		case '\n':
			p.line++
		case ' ', '\t', '\r':
		case '#':
			for p.at+1 < len(p.text) && p.text[p.at+1] != '\n' {
				p.at++
			}
		case 0:
			p.fail("a NUL byte")
		default:
			return c
		}
	}
	return 0
}

func (p *lvmParser) section(depth int) *lvmSection {
	s := &lvmSection{fields: make(map[string]any)}
	if depth > maxDepth {
		p.fail("sections nested too deeply")
	}
	for p.err == nil {
		switch p.peek() {
		case '}':
			if depth == 0 {
				p.fail("a } too many")
			}
			p.at++
			return s
		case 0:
			if depth > 0 {
				p.fail("a section without an end")
			}
			return s
		}
		p.field(s, depth)
	}
	return s
}

// field reads one "name = value" or "name { … }".
func (p *lvmParser) field(s *lvmSection, depth int) {
	name := p.word()
	if name == "" {
		p.fail("no name where one should be")
		return
	}
	var v any
	switch p.peek() {
	case '{':
		p.at++
		v = p.section(depth + 1)
	case '=':
		p.at++
		v = p.value(true)
	default:
		p.fail("neither = nor { after " + strconv.Quote(name))
	}
	if p.err != nil {
		return
	}
	// LVM would take the last one of two; a text that it wrote has none.
	if _, twice := s.fields[name]; twice {
		p.fail(strconv.Quote(name) + " twice")
		return
	}
	s.names, s.fields[name] = append(s.names, name), v
}

// word reads a name, or a number.
func (p *lvmParser) word() string {
	p.peek()
	from := p.at
	for p.at < len(p.text) && wordChar(p.text[p.at]) {
		p.at++
	}
	return string(p.text[from:p.at])
}

func wordChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("_+.-", c) >= 0
}

func (p *lvmParser) value(listAllowed bool) any {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '[':
		if !listAllowed {
			p.fail("a list within a list")
			return nil
		}
		p.at++
		return p.list()
	}
	word := p.word()
	n, err := strconv.ParseInt(word, 10, 64)
	// LVM writes plain decimals; strconv would also take "+1" and "007".
	if err != nil || strconv.FormatInt(n, 10) != word {
		p.fail("no value: " + strconv.Quote(word))
	}
	return n
}

func (p *lvmParser) list() []any {
	list := []any{}
	for p.err == nil {
		if p.peek() == ']' {
			p.at++
			return list
		}
		list = append(list, p.value(false))
		switch p.peek() {
		case ',':
			p.at++
		case ']':
		default:
			p.fail("a list without an end")
		}
	}
	return list
}

// quoted reads a string; \ makes the next byte an ordinary one.
func (p *lvmParser) quoted() string {
	p.at++
	var b strings.Builder
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String()
		case c == '\n' || c == 0:
			p.fail("a string over the end of the line")
			return ""
		case c == '\\' && p.at+1 < len(p.text) && p.text[p.at+1] != '\n' && p.text[p.at+1] != 0:
			p.at++
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	p.fail("a string without an end")
	return ""
}
