//go:build root

package preserve

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRootApply restores with real owners, modes and attributes.
func TestRootApply(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/etc/acme/**\"\n")
	conf := filepath.Join(d.old, "etc/acme/conf")
	d.put(t, conf, "x")
	if err := os.Chown(conf, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	acl := "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
	for name, v := range map[string]string{xattrACL: acl, "user.note": "hello"} {
		if err := unix.Setxattr(conf, name, []byte(v), 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	open := func(dir string) *os.Root {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return root
	}
	old, new := open(d.old), open(d.new)
	for range 2 {
		p, err := NewPlan(context.Background(), DirTree(old), DirTree(new), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(context.Background(), new); err != nil {
			t.Fatal(err)
		}
	}
	restored := DirTree(new)
	e, err := restored.Lstat("etc/acme/conf")
	if err != nil || e.UID != 1000 || e.GID != 1000 {
		t.Fatalf("%+v, %v", e, err)
	}
	attrs, err := restored.Xattrs("etc/acme/conf")
	if err != nil || attrs[xattrACL] != acl || attrs["user.note"] != "hello" {
		t.Fatalf("%q, %v", attrs, err)
	}
	if e, err = restored.Lstat("etc/shadow"); err != nil || e.UID != 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err = restored.Lstat(journalFile); err != nil || e.Mode != 0o600 {
		t.Fatalf("%+v, %v", e, err)
	}
}

// TestRootInitramfs goes the migrator's way: the old root, mounted read-only
// somewhere, straight into the new one or by an archive, with the facts of the
// machine from the caller.
func TestRootInitramfs(t *testing.T) {
	for _, archived := range []bool{false, true} {
		d := newDisk(t)
		old, err := os.OpenRoot(d.old)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		new, err := os.OpenRoot(d.new)
		if err != nil {
			t.Fatal(err)
		}
		defer new.Close()
		tree, err := SlotTree(old)
		if err != nil {
			t.Fatal(err)
		}
		policy, err := LoadPolicy(tree, DirTree(new))
		if err != nil {
			t.Fatal(err)
		}
		policy.Host = initramfsHost
		if archived {
			b := captureWith(t, tree, policy)
			policy.Host = Host{}
			if tree, err = ReadArchive(bytes.NewReader(b), int64(len(b))); err != nil {
				t.Fatal(err)
			}
		}
		p, err := NewPlan(context.Background(), tree, DirTree(new), policy)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(context.Background(), new); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(d.new, "etc/machine-id")); err != nil || string(got) != initramfsHost.MachineID+"\n" {
			t.Errorf("archived %v: machine id %q, %v", archived, got, err)
		}
	}
}

// TestRootLabel sets labels, on links too, where the kernel lets anybody.
func TestRootLabel(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("x", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := (rootTarget{root}).SetXattr("link", xattrLabel, "system_u:object_r:etc_t:s0\x00"); err != nil {
		t.Fatal(err)
	}
	attrs, err := DirTree(root).Xattrs("link")
	if err != nil {
		t.Fatal(err)
	}
	if label := attrs[xattrLabel]; label != "" && !strings.HasPrefix(label, "system_u:object_r:etc_t") {
		t.Fatalf("%q", attrs)
	}
}

// TestRootSlotTree: what is mounted below a slot is not part of it.
func TestRootSlotTree(t *testing.T) {
	runtime.LockOSThread() // its mounts end with it
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(data, unix.MNT_DETACH)
	if err := os.WriteFile(filepath.Join(data, "file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	slot, err := SlotTree(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"data", "data/file"} {
		if Exists(slot, name) || !Exists(DirTree(root), name) {
			t.Errorf("%s", name)
		}
	}
	if list, err := slot.ReadDir("."); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := slot.Open("data/file"); !os.IsNotExist(err) && err == nil {
		t.Error(err)
	}
}
