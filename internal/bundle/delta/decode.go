package delta

import "errors"

var errCode = errors.New("the code makes no sense")

// decode fills window[start:] from code, with window[:start] as dictionary.
// It does at most as many steps as there are bytes to fill.
func decode(m *model, window []byte, start int, code []byte) error {
	c := newCodec(newDecoder(code), m, window, start)
	for c.pos < len(window) {
		if c.isRun(0) == 0 {
			window[c.pos] = c.literal(0)
			c.pos++
			continue
		}
		kind := c.runKind(0)
		if kind > kindFar {
			return errCode
		}
		n := c.length(0, kind)
		dist := c.distance(0, kind, n)
		if dist <= 0 || dist > c.pos || n > len(window)-c.pos || c.rc.missing > 8 {
			return errCode
		}
		// The two may overlap, and then the bytes repeat.
		for done := 0; done < n; {
			done += copy(window[c.pos+done:c.pos+n], window[c.pos-dist:c.pos+done])
		}
		c.pos += n
		c.ranOver(n)
	}
	if !c.rc.finished() {
		return errCode
	}
	return nil
}
