package bundle

import (
	"fmt"
	"slices"
)

// object reads the fields of one JSON object by exact name. It keeps the
// first error, so that a schema reads as a list of its fields.
type object struct {
	where  string // for errors, such as "images[0]."
	fields map[string]any
	known  []string
	err    error
}

func newObject(where string, v any) *object {
	m, ok := v.(map[string]any)
	o := &object{where: where, fields: m}
	if !ok {
		o.err = fmt.Errorf("%s: must be an object", where)
	}
	return o
}

func (o *object) fail(name, problem string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf("%s: field %q %s", o.where, name, fmt.Sprintf(problem, args...))
	}
}

func (o *object) get(name string, required bool) (any, bool) {
	o.known = append(o.known, name)
	v, ok := o.fields[name]
	if !ok && required {
		o.fail(name, "is missing")
	}
	return v, ok
}

func (o *object) text(name string) string {
	v, ok := o.get(name, true)
	s, isText := v.(string)
	if ok && !isText {
		o.fail(name, "must be a string")
	}
	return s
}

// optionalText reads a field that is left out when empty, so that there is
// one spelling for "not stated".
func (o *object) optionalText(name string) string {
	v, ok := o.get(name, false)
	s, isText := v.(string)
	if ok && (!isText || s == "") {
		o.fail(name, "must be a string that is not empty, or be left out")
	}
	return s
}

func (o *object) integer(name string, limit uint64) uint64 {
	v, ok := o.get(name, true)
	return o.checkInteger(name, v, ok, limit)
}

func (o *object) optionalInteger(name string, limit uint64) uint64 {
	v, ok := o.get(name, false)
	if n, isInt := v.(uint64); ok && isInt && n == 0 {
		o.fail(name, "must be left out when it is 0")
	}
	return o.checkInteger(name, v, ok, limit)
}

func (o *object) checkInteger(name string, v any, ok bool, limit uint64) uint64 {
	n, isInt := v.(uint64)
	if ok && !isInt {
		o.fail(name, "must be an integer")
	}
	if n > limit {
		o.fail(name, "is %d, more than the limit of %d", n, limit)
		return 0
	}
	return n
}

func (o *object) digest(name string) Digest {
	s := o.text(name)
	if o.err != nil {
		return Digest{}
	}
	d, err := parseDigest(s)
	if err != nil {
		o.fail(name, "%v", err)
	}
	return d
}

func (o *object) array(name string, limit int) []any {
	v, ok := o.get(name, true)
	return o.checkArray(name, v, ok, limit)
}

func (o *object) checkArray(name string, v any, ok bool, limit int) []any {
	a, isArray := v.([]any)
	if ok && !isArray {
		o.fail(name, "must be an array")
	}
	if len(a) > limit {
		o.fail(name, "has %d entries, more than the limit of %d", len(a), limit)
		return nil
	}
	return a
}

func (o *object) texts(name string, limit int) []string {
	v, ok := o.get(name, true)
	return o.checkTexts(name, o.checkArray(name, v, ok, limit))
}

func (o *object) optionalTexts(name string, limit int) []string {
	v, ok := o.get(name, false)
	a := o.checkArray(name, v, ok, limit)
	if ok && len(a) == 0 {
		o.fail(name, "must be left out when it is empty")
	}
	return o.checkTexts(name, a)
}

func (o *object) checkTexts(name string, a []any) []string {
	var out []string
	for _, v := range a {
		s, isText := v.(string)
		if !isText || s == "" {
			o.fail(name, "must hold strings that are not empty")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// unknown returns the names of fields that were not asked for, sorted.
func (o *object) unknown() []string {
	var names []string
	for name := range o.fields {
		if !slices.Contains(o.known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// closed refuses fields that were not asked for.
func (o *object) closed() error {
	if u := o.unknown(); o.err == nil && len(u) > 0 {
		o.fail(u[0], "is unknown")
	}
	return o.err
}

func toAny(texts []string) []any {
	out := make([]any, len(texts))
	for i, s := range texts {
		out[i] = s
	}
	return out
}
