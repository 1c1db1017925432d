package preserve

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The attacks that a restore has to stand: from the old system, where users
// own their homes and the customer may have put anything, and from a new
// system that has had a life of its own. Each ends in a refusal or harmless.

// disk is two systems in directories. The tests run as whoever runs them: the
// files are theirs, and counted as root's.
type disk struct{ old, new string }

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new")}
	base := map[string]string{
		"etc/passwd":     "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n",
		"etc/shadow":     "root:$6$a$aaaaaaaaaaaaaaaa:1:0:99999:7:::\nalice:$6$b$bbbbbbbbbbbbbbbb:1:0:99999:7:::\n",
		"etc/group":      "root:x:0:\nalice:x:1000:\n",
		"etc/gshadow":    "root:::\nalice:!::\n",
		"etc/machine-id": "0123456789abcdef0123456789abcdef\n",
		"bin/bash":       "ELF",
	}
	for _, root := range []string{d.old, d.new} {
		for name, content := range base {
			d.put(t, filepath.Join(root, name), content)
		}
	}
	return d
}

func (d *disk) put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d *disk) site(t *testing.T, policy string) {
	t.Helper()
	d.put(t, filepath.Join(d.old, "etc/abupdate/preserve.d/site.toml"), policy)
}

func (d *disk) link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// rootOwned is a tree whose files count as root's, however the test runs.
type rootOwned struct{ Tree }

func (t rootOwned) Lstat(name string) (Entry, error) {
	e, err := t.Tree.Lstat(name)
	return ours(e), err
}

func (t rootOwned) ReadDir(name string) ([]Entry, error) {
	list, err := t.Tree.ReadDir(name)
	for i := range list {
		list[i] = ours(list[i])
	}
	return list, err
}

func (t rootOwned) Open(name string) (io.ReadCloser, error) {
	f, err := t.Tree.Open(name)
	return struct{ io.ReadCloser }{f}, err // not a file whose owner could be looked at
}

func ours(e Entry) Entry {
	if e.UID == os.Getuid() {
		e.UID, e.GID = 0, 0
	}
	return e
}

// noOwners is a target that changes no owners, for tests without root.
type noOwners struct{ rootTarget }

func (noOwners) Chown(string, int, int) error          { return nil }
func (noOwners) SetXattr(string, string, string) error { return nil }
func (t noOwners) Create(name string) (targetFile, error) {
	f, err := t.rootTarget.Create(name)
	return noOwnersFile{f}, err
}

type noOwnersFile struct{ targetFile }

func (noOwnersFile) Chown(int, int) error          { return nil }
func (noOwnersFile) SetXattr(string, string) error { return nil }

func (d *disk) plan(t *testing.T) (*Plan, error) {
	t.Helper()
	open := func(dir string) Tree {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return rootOwned{DirTree(root)}
	}
	return NewPlan(context.Background(), open(d.old), open(d.new), nil)
}

// restore plans and applies, and fails the test unless that works.
func (d *disk) restore(t *testing.T) *Plan {
	t.Helper()
	p, err := d.plan(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.apply(t, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func (d *disk) apply(t *testing.T, p *Plan) error {
	t.Helper()
	root, err := os.OpenRoot(d.new)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return p.apply(context.Background(), noOwners{rootTarget{root}})
}

// refused asserts that planning ends in a refusal that says why.
func (d *disk) refused(t *testing.T, why string) {
	t.Helper()
	p, err := d.plan(t)
	if !errors.Is(err, ErrPreserve) || !strings.Contains(err.Error(), why) {
		t.Fatalf("not refused for %q: %v, %v", why, p, err)
	}
}

// missing asserts that the new system has no such file.
func (d *disk) missing(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(d.new, name)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s: %v", name, err)
	}
}

// holds asserts the content of a regular file of the new system.
func (d *disk) holds(t *testing.T, name, content string) {
	t.Helper()
	st, err := os.Lstat(filepath.Join(d.new, name))
	if err != nil || !st.Mode().IsRegular() {
		t.Fatalf("%s: %v, %v", name, st, err)
	}
	b, err := os.ReadFile(filepath.Join(d.new, name))
	if err != nil || string(b) != content {
		t.Fatalf("%s: %q, %v; want %q", name, b, err, content)
	}
}

func noted(p *Plan, kind NoteKind, subject, detail string) bool {
	for _, n := range p.Notes {
		if n.Kind == kind && strings.Contains(n.Subject, subject) && strings.Contains(n.Detail, detail) {
			return true
		}
	}
	return false
}

func TestAttack_RestoreDotDotInPolicy(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/etc/../../etc/shadow\"\n")
	d.refused(t, ".. must not be")
}

func TestAttack_RestoreRelativePathInPolicy(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"etc/x\"\n")
	d.refused(t, "begins with /")
}

func TestAttack_RestoreWholeSystem(t *testing.T) {
	for _, path := range []string{"/", "/**", "/*/..", "/**/**"} {
		d := newDisk(t)
		d.site(t, "[[path]]\npath = \""+path+"\"\n")
		if _, err := d.plan(t); !errors.Is(err, ErrPreserve) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAttack_RestorePolicyOfAnother(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/etc/x\"\n")
	if err := os.Chmod(filepath.Join(d.old, "etc/abupdate/preserve.d/site.toml"), 0o666); err != nil {
		t.Fatal(err)
	}
	d.refused(t, "nobody else may write")
}

func TestAttack_RestoreLinkOutOfTheOldSystem(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	d := newDisk(t)
	d.put(t, outside, "secret")
	d.site(t, "[[path]]\npath = \"/etc/acme/**\"\n")
	d.link(t, outside, filepath.Join(d.old, "etc/acme/absolute"))
	d.link(t, "../../../../../../../../.."+outside, filepath.Join(d.old, "etc/acme/relative"))
	d.restore(t)
	for _, name := range []string{"absolute", "relative"} {
		target, err := os.Readlink(filepath.Join(d.new, "etc/acme", name))
		if err != nil || !strings.HasSuffix(target, "secret") {
			t.Errorf("%s: %q, %v: the link, not what it leads to, is carried", name, target, err)
		}
	}
}

// A user makes his .ssh a link to root's, and has root's keys for himself.
func TestAttack_RestoreLinkedHome(t *testing.T) {
	for _, target := range []string{"/root/.ssh", "../../root/.ssh", "a", "../bob"} {
		d := newDisk(t)
		d.put(t, filepath.Join(d.old, "root/.ssh/id_rsa"), "secret")
		d.link(t, "b", filepath.Join(d.old, "home/alice/a"))
		d.link(t, "/root/.ssh", filepath.Join(d.old, "home/alice/b"))
		d.link(t, target, filepath.Join(d.old, "home/alice/.ssh"))
		d.restore(t)
		st, err := os.Lstat(filepath.Join(d.new, "home/alice/.ssh"))
		if err != nil || st.Mode()&fs.ModeSymlink == 0 {
			t.Fatalf("%s: %v, %v: want the link itself", target, st, err)
		}
	}
}

func TestAttack_RestoreChainOfLinks(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/etc/one/x\"\nmissing = \"warn\"\n")
	d.link(t, "two", filepath.Join(d.old, "etc/one"))
	d.link(t, "three", filepath.Join(d.old, "etc/two"))
	d.link(t, "one", filepath.Join(d.old, "etc/three"))
	if _, err := d.plan(t); !errors.Is(err, ErrPreserve) && err != nil {
		t.Fatal(err)
	}
}

// A hard link in a home must not make root's file the user's.
func TestAttack_RestoreHardLink(t *testing.T) {
	d := newDisk(t)
	key := filepath.Join(d.old, "home/alice/.ssh/authorized_keys")
	if err := os.MkdirAll(filepath.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(d.old, "etc/shadow"), key); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Skip("reading a file of mode 0 needs root") // CI's make attack is root's
	}
	for _, op := range d.restore(t).Ops {
		if op.Path == "home/alice/.ssh/authorized_keys" && (op.UID != 0 || op.Mode != 0) {
			t.Fatalf("%d, %v: it keeps root as its owner, and its mode", op.UID, op.Mode)
		}
	}
}

// A link lies where a file is to be written: it is replaced.
func TestAttack_RestoreLinkInTheSlot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "victim")
	d := newDisk(t)
	d.put(t, outside, "untouched")
	d.site(t, "[[path]]\npath = \"/etc/acme.conf\"\n")
	d.put(t, filepath.Join(d.old, "etc/acme.conf"), "new")
	d.link(t, outside, filepath.Join(d.new, "etc/acme.conf"))
	d.link(t, outside, filepath.Join(d.new, tempName("etc/acme.conf")))
	d.restore(t)
	d.holds(t, "etc/acme.conf", "new")
	if b, err := os.ReadFile(outside); err != nil || string(b) != "untouched" {
		t.Fatalf("%q, %v", b, err)
	}
	d.missing(t, tempName("etc/acme.conf"))
}

// A directory of the slot is a link out of it.
func TestAttack_RestoreLinkedDirectoryInTheSlot(t *testing.T) {
	outside := t.TempDir()
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/srv/acme/conf\"\n")
	d.put(t, filepath.Join(d.old, "srv/acme/conf"), "new")
	d.link(t, outside, filepath.Join(d.new, "srv/acme"))
	d.refused(t, "leads to nothing there")
	if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
		t.Fatalf("%v, %v", list, err)
	}
}

// In a system that has run, a user has planted a link in his home.
func TestAttack_RestoreUsersLinkInTheSlot(t *testing.T) {
	trees, _ := parseFixture(t, `
-- old/etc/passwd --
root:x:0:0:root:/root:/bin/bash
alice:x:1000:1000::/home/alice:/bin/bash
-- old/etc/shadow --
root:*:1::::::
alice:*:1::::::
-- old/etc/group --
root:x:0:
alice:x:1000:
-- old/home/alice/ 0700 1000:1000 --
-- old/home/alice/.ssh/ 0700 1000:1000 --
-- old/home/alice/.ssh/authorized_keys 0600 1000:1000 --
ssh-ed25519 AAAA alice
-- new/etc/passwd --
root:x:0:0:root:/root:/bin/bash
alice:x:1000:1000::/home/alice:/bin/bash
-- new/etc/group --
root:x:0:
alice:x:1000:
-- new/bin/bash 0755 --
-- new/etc/ssh/authorized_keys --
root's
-- new/home/alice/ 0700 1000:1000 --
-- new/home/alice/.ssh -> ../../etc/ssh 1000:1000 --
`)
	c := restored(t, trees["old"], trees["new"])
	e, err := c.Lstat("home/alice/.ssh")
	if err != nil || e.Kind != KindDir || e.UID != 1000 {
		t.Fatalf("%+v, %v: want a directory of alice's", e, err)
	}
	if b, err := ReadFile(c, "etc/ssh/authorized_keys", 100); err != nil || string(b) != "root's\n" {
		t.Fatalf("%q, %v: written through the link", b, err)
	}
}

func TestAttack_RestoreSpecialFiles(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/etc/acme/**\"\n")
	d.put(t, filepath.Join(d.old, "etc/acme/file"), "x")
	if err := unix.Mkfifo(filepath.Join(d.old, "etc/acme/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(d.old, "etc/acme/device"), unix.S_IFCHR|0o600, 1<<8|3); err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	// A FIFO where a file belongs must not stop the machine's shutdown.
	if err := unix.Mkfifo(filepath.Join(d.old, "etc/hostname"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := d.plan(t); done <- err }()
	select {
	case err := <-done:
		if !errors.Is(err, ErrPreserve) {
			t.Fatalf("a FIFO as /etc/hostname: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("a FIFO blocks")
	}
	if err := os.Remove(filepath.Join(d.old, "etc/hostname")); err != nil {
		t.Fatal(err)
	}
	p := d.restore(t)
	d.holds(t, "etc/acme/file", "x")
	d.missing(t, "etc/acme/fifo")
	d.missing(t, "etc/acme/device")
	if !noted(p, Dropped, "/etc/acme/fifo", "not carried") {
		t.Fatalf("%v", p.Notes)
	}
}

func TestAttack_RestoreSetuid(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/opt/tool\"\n\n[[path]]\npath = \"/opt/dir/**\"\n")
	d.put(t, filepath.Join(d.old, "opt/tool"), "x")
	d.put(t, filepath.Join(d.old, "opt/dir/file"), "x")
	if err := os.Chmod(filepath.Join(d.old, "opt/tool"), 0o755|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	p := d.restore(t)
	st, err := os.Stat(filepath.Join(d.new, "opt/tool"))
	if err != nil || st.Mode() != 0o755 {
		t.Fatalf("%v, %v", st.Mode(), err)
	}
	if !noted(p, Warning, "/opt/tool", "setuid") {
		t.Fatalf("%v", p.Notes)
	}
	d.site(t, "[[path]]\npath = \"/opt/tool\"\nmode = \"4755\"\n")
	d.refused(t, "site.toml:3")
}

// Values are text: they are carried, and nothing is run.
func TestAttack_RestoreShellInValues(t *testing.T) {
	evil := "$(touch " + filepath.Join(t.TempDir(), "ran") + ");`reboot`"
	d := newDisk(t)
	d.put(t, filepath.Join(d.old, "etc/hostname"), evil+"\n")
	d.put(t, filepath.Join(d.old, "etc/hosts"), "127.0.0.1 localhost "+evil+"\n")
	d.put(t, filepath.Join(d.old, "etc/sysctl.d/evil.conf"), "kernel.hostname = "+evil+"\n")
	d.put(t, filepath.Join(d.old, "etc/selinux/config"), "SELINUX="+evil+"\nSELINUXTYPE=../../../tmp\n")
	d.put(t, filepath.Join(d.new, "etc/selinux/config"), "SELINUX=permissive\n")
	d.put(t, filepath.Join(d.old, "etc/passwd"), "root:x:0:0:"+evil+":/root:"+evil+"\n")
	d.put(t, filepath.Join(d.old, "etc/sysconfig/clock"), "ZONE="+evil+"\n")
	d.put(t, filepath.Join(d.old, "etc/ssh/sshd_config"), "AllowUsers "+evil+"\nBanner "+evil+"\n")
	d.put(t, filepath.Join(d.new, "etc/ssh/sshd_config"), "UsePAM yes\n")
	d.put(t, filepath.Join(d.old, "etc/cron.d/evil"), "* * * * * root "+evil+"\n")
	p := d.restore(t)
	d.missing(t, "etc/hostname")
	d.holds(t, "etc/selinux/config", "SELINUX=permissive\n")
	d.holds(t, "etc/passwd", "root:x:0:0:"+evil+":/root:/bin/bash\n")
	if !noted(p, Warning, "/etc/hostname", "no host name") {
		t.Fatalf("%v", p.Notes)
	}
}

func TestAttack_RestoreHugeFile(t *testing.T) {
	d := newDisk(t)
	huge := func(name string) {
		name = filepath.Join(d.old, name)
		d.put(t, name, "")
		if err := os.Truncate(name, 1<<40); err != nil {
			t.Fatal(err)
		}
	}
	d.site(t, "[[path]]\npath = \"/etc/acme/**\"\n")
	// The user's own: it must not keep the device from updating.
	huge("home/alice/.ssh/authorized_keys")
	p := d.restore(t)
	d.missing(t, "home/alice/.ssh/authorized_keys")
	if !noted(p, Warning, "authorized_keys", "larger") {
		t.Fatalf("%v", p.Notes)
	}
	huge("etc/acme/log")
	d.refused(t, "the limit is")
	if err := os.Remove(filepath.Join(d.old, "etc/acme/log")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/hosts", "etc/passwd", "etc/ssh/sshd_config", "etc/sudoers", "etc/hostname"} {
		b, err := os.ReadFile(filepath.Join(d.old, name))
		huge(name)
		if _, e := d.plan(t); !errors.Is(e, ErrPreserve) {
			t.Errorf("%s: %v", name, e)
		}
		if err != nil {
			os.Remove(filepath.Join(d.old, name))
		} else {
			d.put(t, filepath.Join(d.old, name), string(b))
		}
	}
}

func TestAttack_RestoreManyFiles(t *testing.T) {
	d := newDisk(t)
	dir := filepath.Join(d.old, "home/alice/.ssh")
	for i := range maxKeyFiles + 50 {
		d.put(t, filepath.Join(dir, "f"+strings.Repeat("x", i%100)+time.Duration(i).String()), "x")
	}
	p, err := d.plan(t)
	if err != nil || !noted(p, Warning, "/home/alice/.ssh", "more than 1000 files") {
		t.Fatal("no limit")
	}
}

func TestAttack_RestoreInjectionIntoPasswd(t *testing.T) {
	d := newDisk(t)
	d.put(t, filepath.Join(d.old, "etc/passwd"), strings.Join([]string{
		"root:x:0:0:root:/root:/bin/bash",
		"eve:x:1001:1001:a\rroot2:x:0:0::/:/bin/sh:/home/eve:/bin/bash", // too many fields, a CR
		"mallory:x:1002:1002:\x00:/home/mallory:/bin/bash",
		"tab:x:1003:1003:a\tb:/home/tab:/bin/bash",
		"-rf:x:1004:1004::/home/rf:/bin/bash",
		"../../x:x:1005:1005::/home/x:/bin/bash",
		"+nis::::::",
		"big:x:4294967295:0::/:/bin/bash",
		"bigger:x:99999999999999999999:0::/:/bin/bash",
		"negative:x:-1:0::/:/bin/bash",
		"alice:x:1000:1000::/home/alice:/bin/bash",
		"alice:x:0:0::/home/alice:/bin/bash", // again, as root
		"noend:x:1006:1006::/home/noend:/bin/bash",
	}, "\n")) // and no newline at the end
	d.restore(t)
	d.holds(t, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\nnoend:x:1006:1006::/home/noend:/bin/bash\n")
}

func TestAttack_RestoreDuplicateUID0(t *testing.T) {
	d := newDisk(t)
	d.put(t, filepath.Join(d.old, "etc/passwd"), "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/bash\ndaemon:x:0:0::/:/bin/bash\n")
	d.put(t, filepath.Join(d.new, "etc/passwd"), "root:x:0:0:root:/root:/bin/bash\ndaemon:x:2:2::/sbin:/sbin/nologin\nvendor:x:0:0::/root:/bin/bash\n")
	p := d.restore(t)
	d.holds(t, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\ndaemon:x:2:2::/sbin:/sbin/nologin\ntoor:x:0:0::/root:/bin/bash\n")
	for _, name := range []string{"toor", "daemon"} {
		if !noted(p, Warning, name, "UID 0") {
			t.Errorf("%s: %v", name, p.Notes)
		}
	}
	if !noted(p, Dropped, "vendor", "UID 0") {
		t.Errorf("%v", p.Notes)
	}
}

// Homes that are none: nothing outside of homes gets another owner.
func TestAttack_RestoreOddHomes(t *testing.T) {
	d := newDisk(t)
	d.put(t, filepath.Join(d.old, "etc/passwd"), strings.Join([]string{
		"root:x:0:0:root:/root:/bin/bash", "a:x:1001:1001::/:/bin/bash", "b:x:1002:1002::/etc:/bin/bash", "c:x:1003:1003::/home/../etc:/bin/bash",
		"d:x:1004:1004::relative:/bin/bash", "e:x:1005:1005::/proc/self/root:/bin/bash", "f:x:1006:1006::/etc/passwd:/bin/bash", "g:x:1007:1007:::/bin/bash",
	}, "\n")+"\n")
	p := d.restore(t)
	for _, op := range p.Ops {
		if op.UID > 1000 {
			t.Errorf("%s becomes %d's", op.Path, op.UID)
		}
	}
}

// What the plan saw is replaced by something else before it is written.
func TestAttack_RestoreChangeInBetween(t *testing.T) {
	d := newDisk(t)
	d.site(t, "[[path]]\npath = \"/etc/acme/**\"\n")
	large := strings.Repeat("x", inline+100)
	d.put(t, filepath.Join(d.old, "etc/acme/large"), large)
	p, err := d.plan(t)
	if err != nil {
		t.Fatal(err)
	}
	d.put(t, filepath.Join(d.old, "etc/acme/large"), strings.Repeat("y", inline+100))
	if err := d.apply(t, p); !errors.Is(err, ErrPreserve) || !strings.Contains(err.Error(), "changed") {
		t.Fatalf("%v", err)
	}
	d.missing(t, "etc/acme/large")
	// And the new system's directory by a link.
	outside := t.TempDir()
	d.put(t, filepath.Join(d.old, "etc/acme/large"), large)
	if err := os.RemoveAll(filepath.Join(d.new, "etc/acme")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(d.new, "etc/acme"), 0o755); err != nil {
		t.Fatal(err)
	}
	if p, err = d.plan(t); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(d.new, "etc/acme")); err != nil {
		t.Fatal(err)
	}
	d.link(t, outside, filepath.Join(d.new, "etc/acme"))
	if err := d.apply(t, p); err == nil {
		d.holds(t, "etc/acme/large", large) // the link was replaced
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) > 0 {
		t.Fatalf("%v, %v", list, err)
	}
}

func TestAttack_RestoreForgedJournal(t *testing.T) {
	d := newDisk(t)
	d.restore(t)
	name := filepath.Join(d.new, journalFile)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{100, 600, len(b) / 2, len(b) - 600} {
		forged := append([]byte{}, b...)
		forged[at] ^= 1
		if err := os.WriteFile(name, forged, 0o600); err != nil {
			t.Fatal(err)
		}
		d.refused(t, "journal")
	}
	if err := os.WriteFile(name, b[:len(b)-1024], 0o600); err != nil {
		t.Fatal(err)
	}
	d.refused(t, "journal")
}
