package bootctl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// signature opens every GRUB environment block (GRUB: include/grub/lib/envblk.h).
// There is no checksum and no length: a block is as long as its file.
const signature = "# GRUB Environment Block\n"

// pair is one line of an environment block.
type pair struct{ key, value string }

// encodeBlock makes an environment block of size bytes. The padding is '#' up
// to the last byte, with no newline after it, as GRUB writes it. It reports
// false when the pairs do not fit.
func encodeBlock(size int, pairs []pair) ([]byte, bool) {
	b := make([]byte, 0, size)
	b = append(b, signature...)
	for _, p := range pairs {
		if len(b)+len(p.key)+len("=")+len(p.value)+len("\n") > size {
			return nil, false
		}
		b = append(b, p.key+"="+p.value+"\n"...)
	}
	return append(b, bytes.Repeat([]byte{'#'}, size-len(b))...), true
}

// parseBlock returns the values of keys. The block must hold exactly these
// keys in this order: GRUB's save_env changes values in their place and moves
// nothing, so anything else was not written by GRUB or by us.
func parseBlock(b []byte, keys []string) ([]string, error) {
	rest, ok := bytes.CutPrefix(b, []byte(signature))
	if !ok {
		return nil, errors.New("not a GRUB environment block")
	}
	values := make([]string, 0, len(keys))
	for _, key := range keys {
		line, after, ok := bytes.Cut(rest, []byte{'\n'})
		if !ok {
			return nil, fmt.Errorf("%s is missing", key)
		}
		value, ok := strings.CutPrefix(string(line), key+"=")
		if !ok {
			return nil, fmt.Errorf("found %.40q where %s should be", line, key)
		}
		if i := strings.IndexFunc(value, func(r rune) bool { return !plain(r) }); i >= 0 {
			return nil, fmt.Errorf("%s has the character %q, which GRUB would change", key, value[i])
		}
		values, rest = append(values, value), after
	}
	if len(bytes.Trim(rest, "#")) != 0 {
		return nil, errors.New("unexpected text after the last key")
	}
	return values, nil
}

// plain reports whether a character passes through GRUB unchanged: the
// environment block escapes backslash and newline, and the linux command puts
// backslashes before quotes (GRUB: lib/envblk.c, lib/cmdline.c).
func plain(r rune) bool {
	return r >= ' ' && r <= '~' && r != '\\' && r != '"' && r != '\''
}
