package vm

// textFilter turns what a terminal is sent into lines of text. GRUB, OVMF and
// SeaBIOS position the cursor and set colours for each word; a test wants the
// words.
type textFilter struct {
	state escapeState
	inRow bool // something stands on the current line
}

type escapeState uint8

const (
	plain   escapeState = iota // outside of an escape sequence
	escape                     // after ESC
	control                    // after ESC [
	command                    // after ESC ], up to BEL or ESC
)

// filter appends the text of p to dst.
func (f *textFilter) filter(dst, p []byte) []byte {
	for _, c := range p {
		switch f.state {
		case plain:
			dst = f.plain(dst, c)
		case escape:
			f.state = plain
			switch c {
			case '[':
				f.state = control
			case ']':
				f.state = command
			}
		case control:
			// ECMA-48: parameters are 0x20–0x3F, the final byte is 0x40–0x7E.
			if c >= 0x40 && c <= 0x7e {
				f.state = plain
				// Cursor to another place, or screen cleared: another line.
				if c == 'H' || c == 'f' || c == 'J' {
					dst = f.newline(dst)
				}
			}
		case command:
			if c == '\a' {
				f.state = plain
			} else if c == '\x1b' {
				f.state = escape
			}
		}
	}
	return dst
}

func (f *textFilter) plain(dst []byte, c byte) []byte {
	switch {
	case c == '\x1b':
		f.state = escape
	case c == '\n':
		dst, f.inRow = append(dst, c), false
	case c == '\t' || c >= ' ' && c != 0x7f:
		dst, f.inRow = append(dst, c), true
	}
	return dst
}

func (f *textFilter) newline(dst []byte) []byte {
	if f.inRow {
		dst, f.inRow = append(dst, '\n'), false
	}
	return dst
}
