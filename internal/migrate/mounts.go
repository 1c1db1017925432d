package migrate

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// mount is one line of /proc/self/mountinfo.
type mount struct {
	device   string // "major:minor"
	root     string // what of the file system is mounted: "/" is all of it
	at       string // mount point
	readOnly bool
	fstype   string
	source   string
}

// parseMounts reads /proc/self/mountinfo (proc(5)). Of several mounts at one
// place the last one counts: it covers the others.
func parseMounts(r io.Reader) (map[string]mount, error) {
	mounts := make(map[string]mount)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // an overlay names its many directories
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 2 {
			return nil, fmt.Errorf("reading mountinfo: %q is no line of it", clip(lines.Text()))
		}
		m := mount{device: l[2], root: unescape(l[3]), at: unescape(l[4]), fstype: r[0], source: unescape(r[1])}
		options := l[5]
		if len(r) > 2 {
			options += "," + r[2]
		}
		for o := range strings.SplitSeq(options, ",") {
			m.readOnly = m.readOnly || o == "ro"
		}
		mounts[m.at] = m
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading mountinfo: %w", err)
	}
	return mounts, nil
}

// unescape undoes the kernel's \040 for a space and its like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
