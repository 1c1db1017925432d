package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestMigrateUsage: what is wrong with the command line is said before
// anything is looked at.
func TestMigrateUsage(t *testing.T) {
	f := getFactory(t)
	none := filepath.Join(t.TempDir(), "none.json")
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"prepare on an image":    {[]string{"--disk", f.disk, "migrate", "prepare", f.v2}, "running machine only"},
		"start on an image":      {[]string{"--disk", f.disk, "migrate", "start"}, "running machine only"},
		"status of an image":     {[]string{"--disk", f.disk, "migrate", "status"}, "running machine only"},
		"abort on an image":      {[]string{"--disk", f.disk, "migrate", "abort"}, "running machine only"},
		"prepare nothing":        {[]string{"migrate", "prepare"}, "accepts 1 arg"},
		"prepare from a pipe":    {[]string{"migrate", "prepare", "-"}, "reads the bundle twice"},
		"prepare by another way": {[]string{"migrate", "prepare", f.v2, "--tier", "copy"}, "carve or gather"},
		"no keyring":             {[]string{"migrate", "prepare", f.v2, "--keyring", none}, "--keyring K.json"},
		"start with a past":      {[]string{"migrate", "start", "--keep-old", "-2"}, "a number of days"},
		"start two":              {[]string{"migrate", "start", "a", "b"}, "at most 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if o := abupdate(tc.args...); o.code != codeUsage || !strings.Contains(o.stderr, tc.says) {
				t.Errorf("exit code %d, want %d with %q\n%s", o.code, codeUsage, tc.says, o.stderr)
			}
		})
	}
}
