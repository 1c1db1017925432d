package delta

import "errors"

var errCode = errors.New("the code makes no sense")

// decode fills window[start:] from code and the plain bytes beside it, with
// window[:start] as dictionary. Each step fills at least one byte.
func decode(m *model, window []byte, start int, plain, code []byte) error {
	c := new(codec)
	c.startDecoding(code)
	c.begin(m, window, start, plain)
	for c.pos < len(window) && !c.spent() {
		left := len(window) - c.pos
		kind, b := c.symbol()
		switch kind {
		case tokenLiteral:
			c.put(b)
			continue
		case tokenPlain:
			n := c.plainBytes(0)
			if n > len(c.plain) || n > left {
				return errCode
			}
			copy(window[c.pos:], c.plain[:n])
			c.plain = c.plain[n:]
			c.pos += n
			continue
		case tokenJump:
			c.jump(0, 0)
		case tokenRun:
		default:
			if !c.aligned() || c.dists[0] < 4 || left < 4 {
				return errCode
			}
			c.shift(kind - tokenShift)
			continue
		}
		if !c.aligned() {
			return errCode
		}
		n, from := c.run(0), c.pos-c.dists[0]
		if n > left {
			return errCode
		}
		if n <= 16 && c.pos-from >= 16 && left >= 16 {
			copy(window[c.pos:c.pos+16], window[from:from+16]) // most are short: a few more bytes cost less than to count them
			c.pos += n
			continue
		}
		// The two may overlap, and then the bytes repeat.
		for done := 0; done < n; {
			done += copy(window[c.pos+done:c.pos+n], window[from:c.pos+done])
		}
		c.pos += n
	}
	if c.pos < len(window) || !c.finished() || len(c.plain) > 0 {
		return errCode
	}
	return nil
}
