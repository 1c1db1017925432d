package preserve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixtureFiles are the contents of files of that name in the fixtures.
func fixtureFiles(tb testing.TB, dir, name string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata/handlers", dir, "*.txtar"))
	if err != nil {
		tb.Fatal(err)
	}
	var list []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		trees, _ := parseFixture(tb, string(b))
		for _, t := range trees {
			if text, err := ReadFile(t, name, maxConfig); err == nil {
				list = append(list, string(text))
			}
		}
	}
	return list
}

// FuzzAccounts: what is read of passwd is written so that it reads the same,
// and merging it anywhere makes nobody root.
func FuzzAccounts(f *testing.F) {
	for _, text := range fixtureFiles(f, "users", "etc/passwd") {
		f.Add(text, "root:x:0:\nalice:x:1000:\n")
	}
	f.Add("a:x:1:1:::\x00\n", "b:x:4294967294:a,b")
	f.Fuzz(func(t *testing.T, passwd, group string) {
		old, err := readAccounts(accountTree(passwd, "", group))
		if err != nil {
			return
		}
		new := mustAccounts(t, accountTree("root:x:0:0::/root:/bin/bash\nacme:x:500:500::/:/sbin/nologin\n", "", "root:x:0:\nacme:x:500:\n"))
		m := mergeAccounts(old, new)
		again, err := readAccounts(m.asTree())
		if err != nil || len(again.bad) > 0 || len(again.users) != len(m.users) || len(again.groups) != len(m.groups) {
			t.Fatalf("%v, %v\n%v\n%v", err, again.bad, again.users, m.users)
		}
		for _, u := range again.users {
			if o := old.user(u.name); u.uid == 0 && (o == nil || o.uid != 0) && u.name != "root" {
				t.Fatalf("%q became root", u.name)
			}
		}
	})
}

// FuzzSSHDConfig: whatever an sshd_config holds, what is carried of it means
// the same in the new system, or is refused.
func FuzzSSHDConfig(f *testing.F) {
	for _, text := range fixtureFiles(f, "ssh", sshdMain) {
		f.Add(text)
	}
	trees, _ := parseFixture(f, "-- new/etc/os-release --\nID=rocky\nVERSION_ID=9.4\n-- new/etc/ssh/sshd_config --\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\nAllowUsers x\n")
	f.Fuzz(func(t *testing.T, text string) {
		old := newMemTree()
		if err := old.put(&memNode{entry: Entry{Path: sshdMain, Kind: KindFile, Size: int64(len(text))}, open: inMemory(text)}); err != nil {
			t.Fatal(err)
		}
		p, err := planOne(ssh{}, old, trees["new"])
		if err != nil {
			return
		}
		ops := map[string]*Op{}
		for i := range p.Ops {
			ops[p.Ops[i].Path] = &p.Ops[i]
		}
		was, err := readSSHD(old)
		if err != nil {
			t.Fatal(err)
		}
		is, err := readSSHD(&resultTree{base: trees["new"], ops: ops, source: old})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"allowusers", "denyusers"} {
			if a, b := normals(was.get(key)), normals(is.get(key)); a != b {
				t.Fatalf("%s: %s becomes %s", key, a, b)
			}
		}
	})
}

// FuzzSudoers: the checker ends, and takes what it took also with a comment
// and an empty line behind it.
func FuzzSudoers(f *testing.F) {
	for _, name := range []string{sudoersMain, sudoersDir + "/site"} {
		for _, text := range fixtureFiles(f, "sudo", name) {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := checkSudoers(text); err != nil || !strings.HasSuffix(text, "\n") {
			return
		}
		if line, err := checkSudoers(text + "\n# comment\n"); err != nil {
			t.Fatalf("line %d: %v", line, err)
		}
	})
}

// FuzzHostKey: a private key of any form is parsed or refused.
func FuzzHostKey(f *testing.F) {
	for _, name := range []string{"etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_ecdsa_key", "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_dsa_key"} {
		for _, text := range fixtureFiles(f, "ssh", name) {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseHostKey(b); err == nil && (k.algorithm == "" || k.bits < 0) {
			t.Fatalf("%+v", k)
		}
	})
}
