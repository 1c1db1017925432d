package bootmodel

import (
	"bytes"
	"slices"
)

// signature opens an environment block.
const signature = "# GRUB Environment Block\n"

// loadEnv reads an environment block as GRUB's load_env does with a list of
// names (GRUB: commands/loadenv.c, lib/envblk.c grub_envblk_iterate). It is
// lenient where bootctl's parser is strict.
func loadEnv(block []byte, names []string) map[string]string {
	vars := make(map[string]string)
	rest, ok := bytes.CutPrefix(block, []byte(signature))
	if !ok {
		return vars
	}
	for len(rest) > 0 {
		line := rest
		if rest[0] == '#' {
			_, rest, _ = bytes.Cut(rest, []byte{'\n'})
			continue
		}
		name, after, ok := bytes.Cut(line, []byte{'='})
		if !ok {
			break
		}
		n := valueLen(after)
		if slices.Contains(names, string(name)) {
			vars[string(name)] = unescape(after[:n])
		}
		rest = after[min(n+1, len(after)):]
	}
	return vars
}

// valueLen returns the length of the value at the start of b, up to the
// newline that ends it.
func valueLen(b []byte) int {
	n := 0
	for n < len(b) && b[n] != '\n' {
		if b[n] == '\\' {
			n++
		}
		n++
	}
	return min(n, len(b))
}

func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
		}
		out = append(out, b[i])
	}
	return string(out)
}

// setEnv changes one variable in an environment block as GRUB's save_env does
// (GRUB: lib/envblk.c grub_envblk_set). It reports false, and the block may
// not be written, when the block is broken or full.
func setEnv(block []byte, name, value string) bool {
	used := len(bytes.TrimRight(block, "#"))
	if used < len(signature) || block[used-1] != '\n' {
		return false
	}
	at := len(signature)
	for at < used {
		line := block[at:used]
		if after, ok := bytes.CutPrefix(line, []byte(name+"=")); ok {
			return replace(block, used, at+len(name)+1, valueLen(after), value)
		}
		at += bytes.IndexByte(line, '\n') + 1
	}
	line := name + "=" + value + "\n"
	if len(block)-used < len(line) {
		return false
	}
	copy(block[used:], line)
	return true
}

// replace puts value in the place of the n bytes at byte at.
func replace(block []byte, used, at, n int, value string) bool {
	if at+n >= used || len(block)-used < len(value)-n {
		return false
	}
	tail := slices.Clone(block[at+n : used])
	end := at + copy(block[at:], value)
	end += copy(block[end:], tail)
	for ; end < used; end++ {
		block[end] = '#'
	}
	return true
}
