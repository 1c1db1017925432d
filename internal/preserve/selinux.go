package preserve

import "strings"

// selinuxSetting reads a setting of /etc/selinux/config.
func selinuxSetting(t Tree, key, otherwise string) string {
	text, err := readOptional(t, "etc/selinux/config", maxConfig)
	if err != nil {
		return otherwise
	}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		v = strings.TrimSpace(v)
		if ok && strings.TrimSpace(k) == key && v != "" && !strings.ContainsAny(v, "/ \t") {
			otherwise = v
		}
	}
	return otherwise
}
