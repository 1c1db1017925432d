//go:build root

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPreserveRestore(t *testing.T) {
	old, next := twoSystems(t)
	for range 2 {
		mustRun(t, "preserve", "restore", "--root", old, "--to", next)
		for name, want := range map[string]string{
			"etc/hostname": "gw-17\n",
			"etc/passwd":   "root:x:0:0:root:/root:/bin/bash\nacme:x:990:990::/:/sbin/nologin\n",
			"etc/shadow":   "root:$6$salt$hashhashhashhash:1::::::\nacme:!!:::::::\n",
		} {
			if b, err := os.ReadFile(filepath.Join(next, name)); err != nil || string(b) != want {
				t.Errorf("/%s: %q, %v", name, b, err)
			}
		}
	}
	if o := abupdate("preserve", "restore", "--root", old, "--to", next, "--json"); !strings.Contains(o.stdout, `"preserve":"done"`) {
		t.Errorf("%+v", o)
	}
}
