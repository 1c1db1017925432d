package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Canonical JSON, the only form of JSON in a bundle: UTF-8, no white space,
// object keys sorted by bytes and unique, only objects, arrays, strings,
// booleans and integers 0…2^53-1, no control characters, and in strings only
// `"` and `\` escaped. Python writes it with json.dumps(v, sort_keys=True,
// separators=(",", ":"), ensure_ascii=False).
//
// The rule that a signed text has exactly one spelling is what keeps two
// parsers from reading two meanings out of the same signed bytes:
// encoding/json alone takes "Payload" for "payload" and the last of two
// duplicate keys.

// maxJSONDepth bounds recursion; the deepest document here needs 4.
const maxJSONDepth = 8

// maxInteger is the largest integer that every JSON reader keeps exactly.
const maxInteger = 1<<53 - 1

// parseCanonical parses b and refuses it unless encoding the result again
// gives b. That comparison, not the parser, refuses duplicate keys, white
// space, other escapes, invalid UTF-8, unsorted keys and trailing data.
func parseCanonical(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := parseValue(dec, 0)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("no canonical JSON: near byte %d: %w", dec.InputOffset(), err)
	}
	if again := appendCanonical(nil, v); !bytes.Equal(again, b) {
		return nil, fmt.Errorf("no canonical JSON: byte %d is not as canonical encoding has it", firstDifference(again, b))
	}
	return v, nil
}

func parseValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxJSONDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := tok.(type) {
	case json.Delim:
		if t == '{' {
			return parseObject(dec, depth)
		}
		return parseArray(dec, depth)
	case string:
		return t, checkText(t)
	case json.Number:
		return parseInteger(string(t))
	case bool:
		return t, nil
	default: // null
		return nil, errors.New("null is not allowed")
	}
}

func parseObject(dec *json.Decoder, depth int) (any, error) {
	m := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := tok.(string)
		if !ok {
			return nil, errors.New("an object key that is no string")
		}
		if err := checkText(key); err != nil {
			return nil, err
		}
		if m[key], err = parseValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token() // the closing brace
	return m, err
}

func parseArray(dec *json.Decoder, depth int) (any, error) {
	a := []any{}
	for dec.More() {
		v, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
	_, err := dec.Token() // the closing bracket
	return a, err
}

func parseInteger(s string) (any, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxInteger {
		return nil, fmt.Errorf("%q is no integer from 0 to 2^53-1", clip(s))
	}
	return n, nil
}

// checkText refuses control characters: they would need an escape, of which
// there is more than one spelling, and they corrupt a terminal.
func checkText(s string) error {
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("control character %#02x in %q", r, clip(s))
		}
	}
	return nil
}

// appendCanonical encodes the kinds that parseValue returns, and []string.
func appendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		return appendObject(b, v)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, e)
		}
		return append(b, ']')
	case string:
		return appendString(b, v)
	case uint64:
		return strconv.AppendUint(b, v, 10)
	case bool:
		return strconv.AppendBool(b, v)
	}
	panic(fmt.Sprintf("internal error: canonical JSON of a %T", v))
}

func appendObject(b []byte, m map[string]any) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendCanonical(b, m[k])
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
