package partition

import (
	"iter"
	"strings"
)

// lvmDecoder takes fields out of a section; the first error sticks.
type lvmDecoder struct {
	s   *lvmSection
	err error
}

func (d *lvmDecoder) fail(name, what string) {
	if d.err == nil {
		d.err = lvmErrorf("%s: %s", name, what)
	}
}

func (d *lvmDecoder) integer(name string, least, most int64) int64 {
	n, ok := d.s.fields[name].(int64)
	switch {
	case !ok:
		d.fail(name, "no number")
	case n < least || n > most:
		d.fail(name, "out of range")
	default:
		return n
	}
	return least
}

func (d *lvmDecoder) text(name string) string {
	s, ok := d.s.fields[name].(string)
	if !ok {
		d.fail(name, "no string")
	}
	return s
}

func (d *lvmDecoder) optionalText(name string) string {
	if _, there := d.s.fields[name]; !there {
		return ""
	}
	return d.text(name)
}

func (d *lvmDecoder) uuid(name string) string {
	s := d.text(name)
	if d.err == nil && !validUUID(s) {
		d.fail(name, "no UUID")
	}
	return s
}

// list takes a list; LVM also writes a single value without brackets.
func (d *lvmDecoder) list(name string) []any {
	switch v := d.s.fields[name].(type) {
	case []any:
		return v
	case string, int64:
		return []any{v}
	}
	d.fail(name, "no list")
	return nil
}

// texts takes an optional list of strings.
func (d *lvmDecoder) texts(name string) []string {
	if _, there := d.s.fields[name]; !there {
		return nil
	}
	var texts []string
	for _, v := range d.list(name) {
		s, ok := v.(string)
		if !ok || strings.TrimSpace(s) == "" {
			d.fail(name, "no list of words")
			return nil
		}
		texts = append(texts, s)
	}
	return texts
}

// sections yields the sections within an optional section, in their order.
func (d *lvmDecoder) sections(name string) iter.Seq2[string, *lvmSection] {
	return func(yield func(string, *lvmSection) bool) {
		outer, ok := d.s.fields[name].(*lvmSection)
		if _, there := d.s.fields[name]; there && !ok {
			d.fail(name, "no section")
		}
		if !ok {
			return
		}
		for _, n := range outer.names {
			s, ok := outer.fields[n].(*lvmSection)
			if !ok {
				d.fail(name, n+" is no section")
				return
			}
			if !yield(n, s) {
				return
			}
		}
	}
}
