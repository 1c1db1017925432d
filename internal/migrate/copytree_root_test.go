//go:build root

package migrate

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCopyTree compares a copied tree with its original by tar, which lists
// owners, modes, times, links, device numbers, ACLs and attributes, and by du.
func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, script := range []string{
		"mkdir -p opt/app/data opt/app/empty home/u 'opt/app/with space'; chmod 2755 opt/app; chown 1000:2000 opt/app opt/app/data; chmod 0500 opt/app/data",
		"echo one > opt/app/data/one; chown 7:8 opt/app/data/one; chmod 6751 opt/app/data/one; ln opt/app/data/one opt/app/data/two",
		"ln -s ../../../etc/passwd opt/app/link; ln -s /nowhere opt/app/dangling; chown -h 5:6 opt/app/link",
		"mkfifo opt/app/fifo; mknod opt/app/null c 1 3; chmod 0640 opt/app/null",
		"truncate -s 64M opt/app/sparse; printf x | dd of=opt/app/sparse bs=1 seek=33554432 conv=notrunc status=none; truncate -s 1M opt/app/hole; : > opt/app/zero",
		"head -c 3000001 /dev/urandom > opt/app/random; ln opt/app/random home/u/hard",
		"for i in $(seq 1 1500); do : > opt/app/empty/$i; done; touch -d 2001-02-03 opt/app/empty opt/app/data opt/app",
		"echo not carried > opt/other; echo neither > home/other",
	} {
		cmd := exec.Command("bash", "-ec", script)
		cmd.Dir = from
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", script, err, out)
		}
	}
	for _, x := range [][3]string{
		{"opt/app/random", "user.note", "a b"},
		{"opt/app/random", "security.selinux", "system_u:object_r:old_t:s0\x00"},
		{"opt/app/with space", "trusted.x", "y"},
		{"opt/app/data/one", "security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}, // cap_net_raw=ep
	} {
		if err := unix.Setxattr(filepath.Join(from, x[0]), x[1], []byte(x[2]), 0); err != nil {
			t.Fatal(err)
		}
	}
	src, err := os.OpenRoot(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenRoot(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	copied := int64(0)
	c := newTreeCopier(src, dst, func(n int64) { copied += n })
	for _, tree := range []string{"/opt/app", "/home/u"} {
		if err := c.tree(context.Background(), tree); err != nil {
			t.Fatal(err)
		}
	}
	list := func(dir string) []byte {
		t.Helper()
		cmd := exec.Command("bash", "-ec", `tar -C "$0" --sort=name --pax-option=delete=atime,delete=ctime --numeric-owner --xattrs --xattrs-include='user.*' --xattrs-include='security.capability' --xattrs-include='trusted.*' -c opt/app home/u | sha256sum`, dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tar: %v %s", err, out)
		}
		return out
	}
	if a, b := list(from), list(to); !bytes.Equal(a, b) {
		diff, _ := exec.Command("bash", "-c", fmt.Sprintf("diff <(cd %s; find opt/app home/u | sort | xargs -d '\\n' stat -c '%%n %%a %%u %%g %%s %%Y %%h %%t %%T') <(cd %s; find opt/app home/u | sort | xargs -d '\\n' stat -c '%%n %%a %%u %%g %%s %%Y %%h %%t %%T')", from, to)).CombinedOutput()
		t.Errorf("tar makes other archives of the two: %s", diff)
	}
	for _, gone := range []string{"opt/other", "home/other"} {
		if _, err := os.Lstat(filepath.Join(to, gone)); err == nil {
			t.Errorf("%s was copied, too", gone)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(to, "opt/app/sparse"), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("the holes were written: %d blocks, %v", st.Blocks, err)
	}
	if n, err := unix.Getxattr(filepath.Join(to, "opt/app/random"), "security.selinux", make([]byte, 64)); err == nil {
		t.Errorf("the old policy's label was copied (%d bytes)", n)
	}
	if copied < 3000001 || copied > 4<<20 {
		t.Errorf("%d bytes were reported", copied)
	}
}
