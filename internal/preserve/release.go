package preserve

import (
	"regexp"
	"strconv"
	"strings"
)

// Release is what system a tree holds.
type Release struct {
	ID    string // "centos", "rhel", "rocky", …; "" when not known
	Major int    // 7, 8, 9; 0 when not known
}

var releaseLine = regexp.MustCompile(`release (\d+)`)

// ReadRelease reads a tree's os-release. Both fields are zero when it says
// nothing: decide by what is there (is /etc/sysconfig/network-scripts served
// by anything?) rather than by a number where you can.
func ReadRelease(t Tree) Release {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		if b, err := ReadFile(t, name, maxConfig); err == nil {
			return parseOSRelease(string(b))
		}
	}
	for _, name := range []string{"etc/centos-release", "etc/redhat-release"} {
		b, err := ReadFile(t, name, maxConfig)
		if err != nil {
			continue
		}
		if m := releaseLine.FindStringSubmatch(string(b)); m != nil {
			major, _ := strconv.Atoi(m[1]) // digits, and 0 when there are too many
			return Release{ID: strings.TrimSuffix(strings.TrimPrefix(name, "etc/"), "-release"), Major: major}
		}
	}
	return Release{}
}

func parseOSRelease(text string) Release {
	var r Release
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			r.ID = value
		case "VERSION_ID":
			major, _, _ := strings.Cut(value, ".")
			r.Major, _ = strconv.Atoi(major)
		}
	}
	return r
}
